/** Plain float64 arrays with a shape: what tensor results are compared to. */
export interface NdArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

export function array(shape: readonly number[], data: ArrayLike<number>): NdArray {
  if (sizeOf(shape) !== data.length) throw new Error(`${shape.join('x')} is not ${data.length}`);
  return { shape, data: Float64Array.from(data) };
}

export function zeros(shape: readonly number[]): NdArray {
  return { shape, data: new Float64Array(sizeOf(shape)) };
}

/** A small seeded generator (mulberry32), uniform in [0, 1). */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Numbers of float32 precision, uniform in [low, high). */
export function randomArray(
  shape: readonly number[],
  seed: number,
  low: number = -1,
  high: number = 1,
): NdArray {
  const next = randomSource(seed);
  const data = new Float64Array(sizeOf(shape));
  for (let i = 0; i < data.length; i++) data[i] = Math.fround(low + (high - low) * next());
  return { shape, data };
}

export function map(a: NdArray, f: (x: number) => number): NdArray {
  return { shape: a.shape, data: a.data.map(f) };
}

/** Calls `body` with every index of a shape, in row-major order. */
export function forEachIndex(
  shape: readonly number[],
  body: (index: number[], flat: number) => void,
): void {
  const index = new Array<number>(shape.length).fill(0);
  const count = sizeOf(shape);
  for (let flat = 0; flat < count; flat++) {
    body(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] += 1;
      if (index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

/** The element at an index of a shape that broadcasting made larger. */
export function at(a: NdArray, index: readonly number[]): number {
  const missing = index.length - a.shape.length;
  let flat = 0;
  a.shape.forEach((size, axis) => {
    flat = flat * size + (size === 1 ? 0 : index[axis + missing]);
  });
  return a.data[flat];
}

export function broadcast(a: NdArray, b: NdArray, f: (x: number, y: number) => number): NdArray {
  const ndim = Math.max(a.shape.length, b.shape.length);
  const shape = Array.from({ length: ndim }, (_, i) => {
    const x = a.shape[i - ndim + a.shape.length] ?? 1;
    const y = b.shape[i - ndim + b.shape.length] ?? 1;
    return x === 1 ? y : x;
  });
  const result = zeros(shape);
  forEachIndex(shape, (index, flat) => (result.data[flat] = f(at(a, index), at(b, index))));
  return result;
}

/** Product of matrices [m, k] and [k, n]. */
export function matrixProduct(a: NdArray, b: NdArray): NdArray {
  const [m, k] = a.shape;
  const n = b.shape[1];
  const result = zeros([m, n]);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let total = 0;
      for (let l = 0; l < k; l++) total += a.data[i * k + l] * b.data[l * n + j];
      result.data[i * n + j] = total;
    }
  }
  return result;
}

/** A function of every row (last axis), row by row. */
export function mapRows(a: NdArray, f: (row: Float64Array) => ArrayLike<number>): NdArray {
  const cols = a.shape[a.shape.length - 1];
  const result = zeros(a.shape);
  for (let start = 0; start < a.data.length; start += cols) {
    result.data.set(Float64Array.from(f(a.data.subarray(start, start + cols))), start);
  }
  return result;
}

export function softmaxRow(row: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(row);
  const top = Math.max(...values);
  const powers = values.map((x) => Math.exp(x - top));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / total);
}

export function logSumExp(row: ArrayLike<number>): number {
  const values = Array.from(row);
  const top = Math.max(...values);
  return top + Math.log(values.reduce((total, x) => total + Math.exp(x - top), 0));
}

/**
 * ‖a − b‖ / ‖scale‖, or ‖a − b‖ where scale is 0. The scale is b, or the sums of absolute values
 * where the terms of b may cancel.
 */
export function relativeError(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  scale: ArrayLike<number> = b,
): number {
  if (a.length !== b.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += scale[i] ** 2;
  }
  return Math.sqrt(difference) / (norm === 0 ? 1 : Math.sqrt(norm));
}
