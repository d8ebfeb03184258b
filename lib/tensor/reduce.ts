import { EinlinearError } from '../errors';
import type { Reduction as ReductionKind } from '../native';
import { Binary, Reduction } from '../native';
import { expandStorage, reduceAxes } from './broadcast';
import { formatShape, requireDim, requireFloat } from './checks';
import { binaryValues } from './elementwise';
import { sizeOf } from './strides';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

/** One axis or several, counted from the end when negative. */
export type Dims = number | readonly number[];

function axesOf(dim: Dims | undefined, ndim: number): number[] {
  if (dim === undefined) return Array.from({ length: ndim }, (_, i) => i);
  const list = typeof dim === 'number' ? [dim] : [...dim];
  const axes = list.map((each) => requireDim('dim', each, ndim)).sort((a, b) => a - b);
  if (new Set(axes).size !== axes.length) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected dim to name each axis once, got ${formatShape(list)}`,
      { dim },
    );
  }
  return axes;
}

function reduce(
  name: string,
  kind: ReductionKind,
  x: Tensor,
  dim: Dims | undefined,
  keepDim: boolean,
): Tensor {
  requireFloat('x', x);
  const { device, shape } = x;
  const axes = axesOf(dim, x.ndim);
  const kept = shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const length = sizeOf(axes.map((axis) => shape[axis]));
  const extremum = kind === Reduction.max || kind === Reduction.min;
  if (extremum && length === 0) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected at least one element along the reduced axes, got shape ${formatShape(shape)}`,
      { shape, dim },
    );
  }
  return withWorkspace(device, (workspace) => {
    const input = x.storage;
    const y = reduceAxes(kind, input, shape, axes, workspace);
    const result = new Tensor(
      workspace.take(y),
      keepDim ? kept : shape.filter((_, axis) => !axes.includes(axis)),
    );
    record(name, [result], [x], extremum ? [input, y] : [], ([dy], sink) => {
      if (kind === Reduction.sum) {
        sink.add(0, expandStorage(dy!, kept, shape, sink));
        return;
      }
      if (kind === Reduction.mean) {
        const share = sink.allocate(dy!.size);
        device.ops.affine(dy!.size, 1 / length, 0, dy!.buffer, share.buffer);
        sink.add(0, expandStorage(share, kept, shape, sink));
        return;
      }
      const full = { storage: input, shape };
      const mask = binaryValues(Binary.equal, shape, full, { storage: y, shape: kept }, sink);
      const ties = reduceAxes(Reduction.sum, mask, shape, axes, sink);
      const share = binaryValues(
        Binary.div,
        kept,
        { storage: dy!, shape: kept },
        { storage: ties, shape: kept },
        sink,
      );
      sink.add(
        0,
        binaryValues(
          Binary.mul,
          shape,
          { storage: mask, shape },
          { storage: share, shape: kept },
          sink,
        ),
      );
    });
    return result;
  });
}

/**
 * Sum over the axes of `dim` (all by default).
 *
 * @param x any shape
 * @param keepDim whether reduced axes stay, with size 1
 * @throws OUT_OF_RANGE for an axis x does not have; INVALID_ARGUMENT for one named twice
 */
export function sum(x: Tensor, dim?: Dims, keepDim: boolean = false): Tensor {
  return reduce('sum', Reduction.sum, x, dim, keepDim);
}

/** Mean over the axes of `dim` (all by default); NaN of nothing. See {@link sum}. */
export function mean(x: Tensor, dim?: Dims, keepDim: boolean = false): Tensor {
  return reduce('mean', Reduction.mean, x, dim, keepDim);
}

/**
 * Largest value over the axes of `dim` (all by default). Equal largest values share the gradient.
 * See {@link sum}.
 *
 * @throws SHAPE_MISMATCH when there is nothing to choose from
 */
export function max(x: Tensor, dim?: Dims, keepDim: boolean = false): Tensor {
  return reduce('max', Reduction.max, x, dim, keepDim);
}

/** Smallest value over the axes of `dim` (all by default). See {@link max}. */
export function min(x: Tensor, dim?: Dims, keepDim: boolean = false): Tensor {
  return reduce('min', Reduction.min, x, dim, keepDim);
}
