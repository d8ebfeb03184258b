import { requireFloat, requireNumber } from './checks';
import type { Generator } from './random';
import { defaultGenerator } from './random';
import { view } from './shape';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

export interface DropoutOptions {
  /** Without training (default true) x passes unchanged. */
  training?: boolean | undefined;
  /** Source of the mask; the default generator if none is given. */
  generator?: Generator | undefined;
}

/**
 * Zeroes each element with probability p and divides the others by 1 − p.
 *
 * @param x any shape
 * @param p from 0 to 1
 * @throws OUT_OF_RANGE for another p
 */
export function dropout(x: Tensor, p: number, options: DropoutOptions = {}): Tensor {
  const { training = true, generator = defaultGenerator } = options;
  requireFloat('x', x);
  requireNumber('p', p, 0, 1);
  if (!training || p === 0) return view('dropout', x, x.shape);
  const { device, size } = x;
  return withWorkspace(device, (workspace) => {
    const y = workspace.allocate(size);
    const { seed, offset } = generator.take(size);
    device.ops.dropout(size, p, seed, offset, x.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), x.shape);
    record('dropout', [result], [x], [], ([dy], sink) => {
      const dx = sink.allocate(size);
      device.ops.dropout(size, p, seed, offset, dy!.buffer, dx.buffer);
      sink.add(0, dx);
    });
    return result;
  });
}
