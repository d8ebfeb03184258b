import {
  requireAxis,
  requireFloat,
  requireNumber,
  requireSameDevice,
  requireShape,
} from './checks';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

/**
 * y = (x − mean) / sqrt(variance + eps) · gain + bias over the last axis (biased variance).
 *
 * @param x [..., features]
 * @param gain [features], or null for 1
 * @param bias [features], or null for 0
 * @param eps at least 0
 * @throws SHAPE_MISMATCH, OUT_OF_RANGE
 */
export function layerNorm(
  x: Tensor,
  gain: Tensor | null = null,
  bias: Tensor | null = null,
  eps: number = 1e-5,
): Tensor {
  requireFloat('x', x);
  requireAxis('x', x);
  requireNumber('eps', eps, 0);
  const cols = x.shape[x.ndim - 1];
  const rows = cols === 0 ? 0 : x.size / cols;
  if (gain !== null) {
    requireFloat('gain', gain);
    requireShape('gain', gain, [cols], ['features']);
  }
  if (bias !== null) {
    requireFloat('bias', bias);
    requireShape('bias', bias, [cols], ['features']);
  }
  const device = requireSameDevice({ x, gain, bias });
  return withWorkspace(device, (workspace) => {
    const input = x.storage;
    const scale = gain?.storage ?? null;
    const y = workspace.allocate(x.size);
    const mean = workspace.allocate(rows);
    const rstd = workspace.allocate(rows);
    device.ops.layerNorm(
      rows,
      cols,
      eps,
      input.buffer,
      scale?.buffer ?? null,
      bias?.buffer ?? null,
      y.buffer,
      mean.buffer,
      rstd.buffer,
    );
    const result = new Tensor(workspace.take(y), x.shape);
    const saved = [input, scale, mean, rstd];
    record('layerNorm', [result], [x, gain, bias], saved, ([dy], sink) => {
      const dx = sink.allocate(input.size);
      const dgain = sink.allocateFor(1, cols);
      const dbias = sink.allocateFor(2, cols);
      device.ops.layerNormBackward(
        rows,
        cols,
        input.buffer,
        scale?.buffer ?? null,
        mean.buffer,
        rstd.buffer,
        dy!.buffer,
        dx.buffer,
        dgain?.buffer ?? null,
        dbias?.buffer ?? null,
      );
      sink.add(0, dx);
      sink.add(1, dgain);
      sink.add(2, dbias);
    });
    return result;
  });
}
