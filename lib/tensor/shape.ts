import { requireArray } from '../checks';
import { EinlinearError } from '../errors';
import { expandStorage, sumTo } from './broadcast';
import {
  describe,
  formatShape,
  requireDim,
  requireInteger,
  requireNumber,
  requireSameDevice,
  requireTensor,
  sameShape,
} from './checks';
import { coalesce, rowMajor, sizeOf } from './strides';
import type { ValueRange } from './tensor';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

/** Most axes a tensor may have. */
export const MAX_AXES = 8;

/**
 * A list of whole sizes, at most eight.
 *
 * @throws INVALID_ARGUMENT, OUT_OF_RANGE
 */
export function requireSizes(
  name: string,
  shape: unknown,
  min: number = 0,
): asserts shape is readonly number[] {
  if (!Array.isArray(shape)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be an array of sizes, got ${describe(shape)}`,
    );
  }
  if (shape.length > MAX_AXES) {
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected ${name} to have at most ${MAX_AXES} axes, got ${shape.length}`,
      { shape },
    );
  }
  for (const [i, size] of (shape as readonly unknown[]).entries()) {
    requireInteger(`${name}[${i}]`, size, min);
  }
}

/** Values keep their range, and a few new ones (zeros) may join them. */
function rangeWith(range: ValueRange | null, value: number): ValueRange | null {
  return range === null
    ? null
    : { min: Math.min(range.min, value), max: Math.max(range.max, value) };
}

/** A handle of another shape on the same memory. */
export function view(name: string, x: Tensor, shape: readonly number[]): Tensor {
  const result = new Tensor(x.storage.retain(), shape, { dtype: x.dtype, range: x.range });
  record(name, [result], [x], [], ([dy], sink) => sink.add(0, dy));
  return result;
}

/**
 * The same elements in row-major order under another shape; shares the memory of x.
 *
 * @param shape sizes with the product of x's; one may be -1 and is then computed
 * @throws SHAPE_MISMATCH when the number of elements differs
 */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  requireTensor('x', x);
  requireSizes('shape', shape, -1);
  const unknown = shape.filter((size) => size === -1).length;
  const known = sizeOf(shape.filter((size) => size !== -1));
  const sizes =
    unknown === 1 && known > 0 ? shape.map((size) => (size === -1 ? x.size / known : size)) : shape;
  if (
    unknown > 1 ||
    sizes.some((size) => !Number.isInteger(size)) ||
    sizeOf(sizes) !== x.size ||
    sizes.includes(-1)
  ) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected a shape of ${x.size} elements for a tensor of shape ${formatShape(x.shape)}, got ${formatShape(shape)}`,
      { shape: x.shape, to: shape },
    );
  }
  return view('reshape', x, sizes);
}

/**
 * Axes in another order: axis i of the result is axis dims[i] of x. Copies.
 *
 * @param dims each axis once, counted from the end when negative
 * @throws INVALID_ARGUMENT unless every axis is named once
 */
export function permute(x: Tensor, dims: readonly number[]): Tensor {
  requireTensor('x', x);
  requireArray('dims', dims);
  const order = dims.map((dim) => requireDim('dims', dim, x.ndim));
  if (order.length !== x.ndim || new Set(order).size !== x.ndim) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected dims to name each of the ${x.ndim} axes once, got ${formatShape(dims)}`,
      { dims, shape: x.shape },
    );
  }
  const { device } = x;
  const shape = order.map((axis) => x.shape[axis]);
  const strides = rowMajor(x.shape);
  const walk = coalesce(shape, [order.map((axis) => strides[axis]), rowMajor(shape)]);
  const [there, own] = walk.strides as [number[], number[]];
  return withWorkspace(device, (workspace) => {
    const y = workspace.allocate(x.size);
    device.ops.stridedCopy(walk.shape, there, 0, own, 0, false, x.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), shape, { dtype: x.dtype, range: x.range });
    record('permute', [result], [x], [], ([dy], sink) => {
      const dx = sink.allocate(dy!.size);
      device.ops.stridedCopy(walk.shape, own, 0, there, 0, false, dy!.buffer, dx.buffer);
      sink.add(0, dx);
    });
    return result;
  });
}

/**
 * Two axes exchanged, the last two by default. Copies.
 *
 * @throws OUT_OF_RANGE for an axis x does not have
 */
export function transpose(x: Tensor, dim0: number = -2, dim1: number = -1): Tensor {
  requireTensor('x', x);
  const first = requireDim('dim0', dim0, x.ndim);
  const second = requireDim('dim1', dim1, x.ndim);
  const dims = x.shape.map((_, axis) => (axis === first ? second : axis === second ? first : axis));
  return permute(x, dims);
}

/**
 * Elements `start` up to (not including) `end` along one axis. Copies.
 *
 * @param start counted from the end when negative
 * @param end the size of the axis by default; counted from the end when negative
 * @throws OUT_OF_RANGE unless 0 ≤ start ≤ end ≤ size
 */
export function slice(x: Tensor, dim: number, start: number, end?: number): Tensor {
  requireTensor('x', x);
  const axis = requireDim('dim', dim, x.ndim);
  const size = x.shape[axis];
  requireInteger('start', start, -size, size);
  const first = start < 0 ? start + size : start;
  const given = end ?? size;
  requireInteger('end', given, -size, size);
  const last = given < 0 ? given + size : given;
  requireInteger('end', last, first, size);
  const { device } = x;
  const outer = sizeOf(x.shape.slice(0, axis));
  const inner = sizeOf(x.shape.slice(axis + 1));
  const run = (last - first) * inner;
  const shape = x.shape.map((each, i) => (i === axis ? last - first : each));
  return withWorkspace(device, (workspace) => {
    const y = workspace.allocate(outer * run);
    const step = size * inner;
    device.ops.stridedCopy(
      [outer, run],
      [step, 1],
      first * inner,
      [run, 1],
      0,
      false,
      x.buffer,
      y.buffer,
    );
    const result = new Tensor(workspace.take(y), shape, { dtype: x.dtype, range: x.range });
    record('slice', [result], [x], [], ([dy], sink) => {
      const partial = sink.partial(0);
      const dx = partial ?? sink.allocate(outer * step);
      if (partial === null) device.ops.fill(dx.size, 0, dx.buffer);
      device.ops.stridedCopy(
        [outer, run],
        [run, 1],
        0,
        [step, 1],
        first * inner,
        partial !== null,
        dy!.buffer,
        dx.buffer,
      );
      if (partial === null) sink.add(0, dx);
    });
    return result;
  });
}

/**
 * Tensors joined along one axis.
 *
 * @param tensors at least one, equal in every other axis and in dtype
 * @throws INVALID_ARGUMENT for an empty list, or none; SHAPE_MISMATCH; DTYPE_MISMATCH
 */
export function concat(tensors: readonly Tensor[], dim: number = 0): Tensor {
  requireArray('tensors', tensors);
  const head = tensors.at(0);
  if (head === undefined) {
    throw new EinlinearError('INVALID_ARGUMENT', 'Expected at least one tensor to join, got none');
  }
  for (const [i, tensor] of tensors.entries()) requireTensor(`tensors[${i}]`, tensor);
  const axis = requireDim('dim', dim, head.ndim);
  for (const [i, tensor] of tensors.entries()) {
    const other = tensor.shape.map((size, each) => (each === axis ? head.shape[axis] : size));
    if (!sameShape(other, head.shape)) {
      throw new EinlinearError(
        'SHAPE_MISMATCH',
        `Expected tensors[${i}] to have the shape of tensors[0], ${formatShape(head.shape)}, but for axis ${axis}, got ${formatShape(tensor.shape)}`,
        { shape: tensor.shape },
      );
    }
    if (tensor.dtype !== head.dtype) {
      throw new EinlinearError(
        'DTYPE_MISMATCH',
        `Expected tensors[${i}] to be of dtype ${head.dtype}, got ${tensor.dtype}`,
      );
    }
  }
  const device = requireSameDevice(
    Object.fromEntries(tensors.map((tensor, i) => [`tensors[${i}]`, tensor])),
  );
  const outer = sizeOf(head.shape.slice(0, axis));
  const inner = sizeOf(head.shape.slice(axis + 1));
  const runs = tensors.map((tensor) => tensor.shape[axis] * inner);
  const step = runs.reduce((total, run) => total + run, 0);
  const offsets = runs.map((_, i) => runs.slice(0, i).reduce((total, run) => total + run, 0));
  const shape = head.shape.map((size, each) =>
    each === axis ? tensors.reduce((total, tensor) => total + tensor.shape[axis], 0) : size,
  );
  const ranges = tensors.filter((tensor) => tensor.size > 0).map((tensor) => tensor.range);
  const range = ranges.reduce<ValueRange | null>(
    (all, each) =>
      all === null || each === null ? null : rangeWith(rangeWith(all, each.min), each.max),
    ranges[0] ?? null,
  );
  return withWorkspace(device, (workspace) => {
    const y = workspace.allocate(outer * step);
    tensors.forEach((tensor, i) => {
      const run = runs[i];
      device.ops.stridedCopy(
        [outer, run],
        [run, 1],
        0,
        [step, 1],
        offsets[i],
        false,
        tensor.buffer,
        y.buffer,
      );
    });
    const result = new Tensor(workspace.take(y), shape, { dtype: head.dtype, range });
    record('concat', [result], tensors, [], ([dy], sink) => {
      runs.forEach((run, i) => {
        const dx = sink.allocateFor(i, outer * run);
        if (dx === null) return;
        device.ops.stridedCopy(
          [outer, run],
          [step, 1],
          offsets[i],
          [run, 1],
          0,
          false,
          dy!.buffer,
          dx.buffer,
        );
        sink.add(i, dx);
      });
    });
    return result;
  });
}

/**
 * x repeated to a larger shape: axes of size 1, and missing leading ones, take the given sizes.
 * Copies.
 *
 * @throws SHAPE_MISMATCH when another axis would change
 */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  requireTensor('x', x);
  requireSizes('shape', shape);
  const missing = shape.length - x.ndim;
  const fits =
    missing >= 0 && x.shape.every((size, i) => size === 1 || size === shape[i + missing]);
  if (!fits) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected a shape that ${formatShape(x.shape)} can be repeated to, got ${formatShape(shape)}`,
      { shape: x.shape, to: shape },
    );
  }
  const from = x.shape;
  return withWorkspace(x.device, (workspace) => {
    const y = expandStorage(x.storage, from, shape, workspace);
    const result = new Tensor(workspace.take(y), shape, { dtype: x.dtype, range: x.range });
    record('expand', [result], [x], [], ([dy], sink) => {
      sink.add(0, sumTo(dy!, shape, from, sink));
    });
    return result;
  });
}

/**
 * x with `padding[i] = [before, after]` elements of `value` added around axis i.
 *
 * @param padding one pair for each axis, of whole numbers of at least 0
 * @throws INVALID_ARGUMENT when there is not one pair for each axis; OUT_OF_RANGE
 */
export function pad(
  x: Tensor,
  padding: readonly (readonly [number, number])[],
  value: number = 0,
): Tensor {
  requireTensor('x', x);
  requireNumber('value', value);
  requireArray('padding', padding);
  if (padding.length !== x.ndim) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected padding to have one pair for each of the ${x.ndim} axes, got ${padding.length}`,
    );
  }
  padding.forEach((pair, i) => {
    requireArray(`padding[${i}]`, pair);
    const [before, after] = pair;
    requireInteger(`padding[${i}][0]`, before, 0);
    requireInteger(`padding[${i}][1]`, after, 0);
  });
  if (x.dtype === 'int32' && value !== 0) {
    throw new EinlinearError('DTYPE_MISMATCH', 'Expected int32 tensors to be padded with 0');
  }
  const { device } = x;
  const shape = x.shape.map((size, i) => size + padding[i][0] + padding[i][1]);
  const strides = rowMajor(shape);
  const offset = padding.reduce((total, [before], i) => total + before * strides[i], 0);
  const walk = coalesce(x.shape, [rowMajor(x.shape), strides]);
  const [own, there] = walk.strides as [number[], number[]];
  return withWorkspace(device, (workspace) => {
    const y = workspace.allocate(sizeOf(shape));
    device.ops.fill(y.size, value, y.buffer);
    device.ops.stridedCopy(walk.shape, own, 0, there, offset, false, x.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), shape, {
      dtype: x.dtype,
      range: rangeWith(x.range, 0),
    });
    const { size } = x;
    record('pad', [result], [x], [], ([dy], sink) => {
      const dx = sink.allocate(size);
      device.ops.stridedCopy(walk.shape, there, offset, own, 0, false, dy!.buffer, dx.buffer);
      sink.add(0, dx);
    });
    return result;
  });
}
