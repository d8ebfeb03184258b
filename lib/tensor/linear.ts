import { Reduction } from '../native';
import {
  requireAxes,
  requireFloat,
  requireLastAxis,
  requireSameDevice,
  requireShape,
} from './checks';
import { Tensor, needsGrad, record } from './tensor';
import { withWorkspace } from './workspace';

/**
 * y = x Wᵀ + bias.
 *
 * @param x [..., in]; leading axes may be empty
 * @param weight [out, in]
 * @param bias [out] or null
 * @returns [..., out]
 * @throws SHAPE_MISMATCH
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  requireFloat('x', x);
  requireFloat('weight', weight);
  requireAxes('weight', weight, ['out', 'in']);
  const [n, k] = weight.shape as [number, number];
  const tokens = requireLastAxis('x', x, k, 'in');
  if (bias !== null) {
    requireFloat('bias', bias);
    requireShape('bias', bias, [n], ['out']);
  }
  const device = requireSameDevice({ x, weight, bias });
  return withWorkspace(device, (workspace) => {
    const [input, matrix] = [x.storage, weight.storage];
    const y = workspace.allocate(tokens * n);
    device.ops.matmul(
      1,
      tokens,
      n,
      k,
      false,
      true,
      false,
      0,
      0,
      input.buffer,
      matrix.buffer,
      bias?.buffer ?? null,
      y.buffer,
    );
    const result = new Tensor(workspace.take(y), [...x.shape.slice(0, -1), n]);
    const saved = [needsGrad(weight) ? input : null, needsGrad(x) ? matrix : null];
    record('linear', [result], [x, weight, bias], saved, ([dy], sink) => {
      if (sink.needs(0)) {
        const partial = sink.partial(0);
        const dx = partial ?? sink.allocate(tokens * k);
        device.ops.matmul(
          1,
          tokens,
          k,
          n,
          false,
          false,
          partial !== null,
          0,
          0,
          dy!.buffer,
          matrix.buffer,
          null,
          dx.buffer,
        );
        if (partial === null) sink.add(0, dx);
      }
      if (sink.needs(1)) {
        const partial = sink.partial(1);
        const dw = partial ?? sink.allocate(n * k);
        device.ops.matmul(
          1,
          n,
          k,
          tokens,
          true,
          false,
          partial !== null,
          0,
          0,
          dy!.buffer,
          input.buffer,
          null,
          dw.buffer,
        );
        if (partial === null) sink.add(1, dw);
      }
      const dbias = sink.allocateFor(2, n);
      if (dbias !== null) {
        device.ops.reduce(Reduction.sum, 1, tokens, n, dy!.buffer, dbias.buffer);
        sink.add(2, dbias);
      }
    });
    return result;
  });
}
