/** Row-major strides of a shape. */
export function rowMajor(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export interface Walk {
  shape: number[];
  strides: number[][];
}

/**
 * The same walk over the same elements with as few axes as possible: axes of size one go, and
 * neighbours merge where every stride list steps through them evenly.
 */
export function coalesce(shape: readonly number[], strides: readonly (readonly number[])[]): Walk {
  const out: Walk = { shape: [], strides: strides.map(() => []) };
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const last = out.shape.length - 1;
    const even =
      last >= 0 && strides.every((list, i) => out.strides[i][last] === list[axis] * size);
    if (even) {
      out.shape[last] *= size;
      strides.forEach((list, i) => (out.strides[i][last] = list[axis]!));
    } else {
      out.shape.push(size);
      strides.forEach((list, i) => out.strides[i].push(list[axis]));
    }
  });
  return out;
}
