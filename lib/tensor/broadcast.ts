import { EinlinearError } from '../errors';
import type { Reduction as ReductionKind } from '../native';
import { Reduction } from '../native';
import type { Storage } from './storage';
import { coalesce, rowMajor, sizeOf } from './strides';

/** Where temporaries come from: a workspace, or the sink of a backward rule. */
export interface Allocator {
  allocate(size: number): Storage;
}

/**
 * The shape two operands broadcast to: axes are matched from the last, and one of size 1 (or none)
 * is repeated to the other's size, as in PyTorch.
 *
 * @throws SHAPE_MISMATCH
 */
export function broadcastShapes(
  names: readonly [string, string],
  a: readonly number[],
  b: readonly number[],
): number[] {
  const ndim = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let i = 0; i < ndim; i++) {
    const sizeA = a[a.length - ndim + i] ?? 1;
    const sizeB = b[b.length - ndim + i] ?? 1;
    if (sizeA !== sizeB && sizeA !== 1 && sizeB !== 1) {
      throw new EinlinearError(
        'SHAPE_MISMATCH',
        `Expected ${names[0]} and ${names[1]} to have shapes that broadcast, got [${a.join(', ')}] and [${b.join(', ')}]`,
        { a, b },
      );
    }
    shape.push(sizeA === 1 ? sizeB : sizeA);
  }
  return shape;
}

/** Strides that walk a contiguous operand of `shape` along the axes of `target`. */
export function broadcastStrides(shape: readonly number[], target: readonly number[]): number[] {
  const own = rowMajor(shape);
  const missing = target.length - shape.length;
  return target.map((_, i) => (i < missing || shape[i - missing] === 1 ? 0 : own[i - missing]));
}

/** A contiguous copy of `source` repeated along the axes where `from` has size 1 and `to` has not. */
export function expandStorage(
  source: Storage,
  from: readonly number[],
  to: readonly number[],
  allocator: Allocator,
): Storage {
  const result = allocator.allocate(sizeOf(to));
  const walk = coalesce(to, [broadcastStrides(from, to), rowMajor(to)]);
  source.device.ops.stridedCopy(
    walk.shape,
    walk.strides[0],
    0,
    walk.strides[1],
    0,
    false,
    source.buffer,
    result.buffer,
  );
  return result;
}

/**
 * Reduces the given axes (ascending) of a contiguous array of `shape`; they become size 1. Returns
 * `source` itself where there is nothing to reduce.
 */
export function reduceAxes(
  kind: ReductionKind,
  source: Storage,
  shape: readonly number[],
  axes: readonly number[],
  allocator: Allocator,
): Storage {
  const sizes = [...shape];
  let result = source;
  let end = axes.length;
  while (end > 0) {
    // A run of neighbouring axes is one reduction.
    let start = end - 1;
    while (start > 0 && axes[start - 1] === axes[start] - 1) start -= 1;
    const first = axes[start];
    const last = axes[end - 1];
    const outer = sizeOf(sizes.slice(0, first));
    const length = sizeOf(sizes.slice(first, last + 1));
    const inner = sizeOf(sizes.slice(last + 1));
    if (length !== 1) {
      const next = allocator.allocate(outer * inner);
      source.device.ops.reduce(kind, outer, length, inner, result.buffer, next.buffer);
      result = next;
    }
    for (let axis = first; axis <= last; axis++) sizes[axis] = 1;
    end = start;
  }
  return result;
}

/** Sums a gradient of shape `from` over the axes that an operand of shape `to` was repeated along. */
export function sumTo(
  source: Storage,
  from: readonly number[],
  to: readonly number[],
  allocator: Allocator,
): Storage {
  const missing = from.length - to.length;
  const axes: number[] = [];
  from.forEach((size, i) => {
    if (size !== 1 && (i < missing || to[i - missing] === 1)) axes.push(i);
  });
  return reduceAxes(Reduction.sum, source, from, axes, allocator);
}
