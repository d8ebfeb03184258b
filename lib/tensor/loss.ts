import { EinlinearError } from '../errors';
import {
  formatShape,
  requireAxis,
  requireFloat,
  requireInt,
  requireInteger,
  requireSameDevice,
  requireShape,
  sameShape,
} from './checks';
import { INT32_MAX, INT32_MIN } from './dtype';
import { square, sub } from './elementwise';
import { mean } from './reduce';
import { tidy } from './scope';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

export interface CrossEntropyOptions {
  /** Targets of this value do not count (default −100). */
  ignoreIndex?: number | undefined;
}

/** Throws where the host already knows that a target names no class. */
function requireTargets(targets: Tensor, classes: number, ignoreIndex: number): void {
  const { range } = targets;
  if (range === null || targets.size === 0) return;
  for (const value of [range.min, range.max]) {
    if ((value >= 0 && value < classes) || value === ignoreIndex) continue;
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected the values of targets to be from 0 to ${classes - 1} (or ignoreIndex ${ignoreIndex}), got ${value}`,
      { value, classes, ignoreIndex },
    );
  }
}

/**
 * Mean of −log softmax(logits)[target] over the targets that count, in nats; 0 when none does.
 *
 * @param logits [..., classes]
 * @param targets int32 [...], each from 0 to classes − 1 or ignoreIndex
 * @returns a single number, shape []
 * @throws SHAPE_MISMATCH; OUT_OF_RANGE for a target that names no class: here where the host knows
 *   the targets, else at the next read
 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  const { ignoreIndex = -100 } = options;
  requireFloat('logits', logits);
  requireAxis('logits', logits);
  requireInt('targets', targets);
  requireInteger('ignoreIndex', ignoreIndex, INT32_MIN, INT32_MAX);
  const classes = logits.shape[logits.ndim - 1];
  requireShape('targets', targets, logits.shape.slice(0, -1));
  requireTargets(targets, classes, ignoreIndex);
  const device = requireSameDevice({ logits, targets });
  const rows = targets.size;
  return withWorkspace(device, (workspace) => {
    const [scores, chosen] = [logits.storage, targets.storage];
    const loss = workspace.allocate(1);
    const lse = workspace.allocate(rows);
    const counted = workspace.allocate(1);
    device.ops.crossEntropy(
      rows,
      classes,
      ignoreIndex,
      scores.buffer,
      chosen.buffer,
      loss.buffer,
      lse.buffer,
      counted.buffer,
    );
    const result = new Tensor(workspace.take(loss), []);
    const saved = [scores, chosen, lse, counted];
    record('crossEntropy', [result], [logits], saved, ([dloss], sink) => {
      const dlogits = sink.allocate(scores.size);
      device.ops.crossEntropyBackward(
        rows,
        classes,
        ignoreIndex,
        scores.buffer,
        chosen.buffer,
        lse.buffer,
        counted.buffer,
        dloss!.buffer,
        dlogits.buffer,
      );
      sink.add(0, dlogits);
    });
    return result;
  });
}

/**
 * Mean of (prediction − target)² over all elements; NaN where there is none, as in PyTorch.
 *
 * @param prediction any shape
 * @param target the same shape
 * @returns a single number, shape []
 * @throws SHAPE_MISMATCH
 */
export function mseLoss(prediction: Tensor, target: Tensor): Tensor {
  requireFloat('prediction', prediction);
  requireFloat('target', target);
  if (!sameShape(prediction.shape, target.shape)) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected prediction and target to have the same shape, got ${formatShape(prediction.shape)} and ${formatShape(target.shape)}`,
      { prediction: prediction.shape, target: target.shape },
    );
  }
  return tidy(() => mean(square(sub(prediction, target))));
}
