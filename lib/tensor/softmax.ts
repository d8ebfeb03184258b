import { requireDim, requireFloat } from './checks';
import { tidy } from './scope';
import { transpose } from './shape';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

function softmaxOfRows(x: Tensor, logarithm: boolean): Tensor {
  const { device } = x;
  const cols = x.shape[x.ndim - 1];
  const rows = cols === 0 ? 0 : x.size / cols;
  return withWorkspace(device, (workspace) => {
    const y = workspace.allocate(x.size);
    device.ops.softmax(rows, cols, logarithm, x.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), x.shape);
    record(logarithm ? 'logSoftmax' : 'softmax', [result], [x], [y], ([dy], sink) => {
      const dx = sink.allocate(y.size);
      device.ops.softmaxBackward(rows, cols, logarithm, y.buffer, dy!.buffer, dx.buffer);
      sink.add(0, dx);
    });
    return result;
  });
}

function alongAxis(x: Tensor, dim: number, logarithm: boolean): Tensor {
  requireFloat('x', x);
  const axis = requireDim('dim', dim, x.ndim);
  if (axis === x.ndim - 1) return softmaxOfRows(x, logarithm);
  return tidy(() => transpose(softmaxOfRows(transpose(x, axis, -1), logarithm), axis, -1));
}

/**
 * e^x normalised to sum 1 along an axis.
 *
 * @param x any shape with at least one axis
 * @throws OUT_OF_RANGE for an axis x does not have
 */
export function softmax(x: Tensor, dim: number = -1): Tensor {
  return alongAxis(x, dim, false);
}

/** Natural logarithm of {@link softmax}, computed without overflow. */
export function logSoftmax(x: Tensor, dim: number = -1): Tensor {
  return alongAxis(x, dim, true);
}
