import { EinlinearError } from '../errors';
import { requireFloat, requireNumber, requireSameDevice, requireShape } from './checks';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

export interface NormalizeOptions {
  /** Root mean square that is held, > 0: the initial standard deviation of the weight. */
  rms: number;
  /** Added to the mean square, at least 0. */
  eps: number;
}

/**
 * Weight normalisation: w / max(1, rms(w)/rms₀) · gain with rms(w) = sqrt(mean(w²) + eps). The
 * gradient flows through the normalisation.
 *
 * @param w any shape
 * @param gain one element, or null for 1
 * @throws SHAPE_MISMATCH, OUT_OF_RANGE
 */
export function normalizeWeight(w: Tensor, gain: Tensor | null, options: NormalizeOptions): Tensor {
  const { rms, eps } = options;
  requireFloat('w', w);
  requireNumber('rms', rms, 0);
  requireNumber('eps', eps, 0);
  if (rms === 0) {
    throw new EinlinearError('OUT_OF_RANGE', 'Expected rms to be larger than 0, got 0', { rms });
  }
  if (gain !== null) {
    requireFloat('gain', gain);
    if (gain.size !== 1) requireShape('gain', gain, [1]);
  }
  const device = requireSameDevice({ w, gain });
  const { size } = w;
  return withWorkspace(device, (workspace) => {
    const weight = w.storage;
    const scale = gain?.storage ?? null;
    const y = workspace.allocate(size);
    const measured = workspace.allocate(1);
    device.ops.normalizeWeight(
      size,
      rms,
      eps,
      weight.buffer,
      scale?.buffer ?? null,
      y.buffer,
      measured.buffer,
    );
    const result = new Tensor(workspace.take(y), w.shape);
    const saved = [weight, scale, measured];
    record('normalizeWeight', [result], [w, gain], saved, ([dy], sink) => {
      const dw = sink.allocate(size);
      const dgain = sink.allocateFor(1, 1);
      device.ops.normalizeWeightBackward(
        size,
        rms,
        eps,
        weight.buffer,
        scale?.buffer ?? null,
        measured.buffer,
        dy!.buffer,
        dw.buffer,
        dgain?.buffer ?? null,
      );
      sink.add(0, dw);
      sink.add(1, dgain);
    });
    return result;
  });
}
