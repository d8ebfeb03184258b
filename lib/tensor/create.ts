import { EinlinearError } from '../errors';
import { Distribution } from '../native';
import { describe, formatShape, requireNumber, requireTensor } from './checks';
import type { Device } from './device';
import { resolveDevice } from './device';
import type { DType } from './dtype';
import { INT32_MAX, INT32_MIN } from './dtype';
import type { Generator } from './random';
import { defaultGenerator } from './random';
import { requireSizes } from './shape';
import { sizeOf } from './strides';
import type { TensorInit } from './tensor';
import { Tensor, rangeOf } from './tensor';
import { withWorkspace } from './workspace';

/** Numbers nested as deep as the tensor has axes. */
export type NestedNumbers = number | readonly NestedNumbers[];

export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array;

export type TensorData = NestedNumbers | NumericArray;

export interface CreateOptions {
  /** By default 'int32' for integer typed arrays, else 'float32'. */
  dtype?: DType | undefined;
  /** Where the tensor lives; the default device if none is given. */
  device?: Device | undefined;
  /** Whether backward computes a gradient for it (float32 only; default false). */
  requiresGrad?: boolean | undefined;
  /** For messages. */
  name?: string | undefined;
}

export interface TensorOptions extends CreateOptions {
  /** Shape of flat data; by default that of the nesting, or one axis for a typed array. */
  shape?: readonly number[] | undefined;
}

export interface RandomOptions extends CreateOptions {
  /** Source of the numbers; the default generator if none is given. */
  generator?: Generator | undefined;
}

function finish(tensor: Tensor, options: CreateOptions): Tensor {
  if (options.requiresGrad === true) tensor.requiresGrad = true;
  if (options.name !== undefined) tensor.name = options.name;
  return tensor;
}

function requireDType(dtype: unknown, options: CreateOptions): asserts dtype is DType {
  if (dtype !== 'float32' && dtype !== 'int32') {
    throw new EinlinearError(
      'DTYPE_MISMATCH',
      `Expected dtype to be 'float32' or 'int32', got ${describe(dtype)}`,
    );
  }
  if (options.requiresGrad === true && dtype !== 'float32') {
    throw new EinlinearError(
      'DTYPE_MISMATCH',
      `Expected a tensor that requires a gradient to be of dtype float32, got ${dtype}`,
    );
  }
}

/** Uploads host values of the right type. */
function upload(
  values: Float32Array | Int32Array,
  shape: readonly number[],
  init: TensorInit,
  device: Device,
): Tensor {
  return withWorkspace(device, (workspace) => {
    const storage = workspace.allocate(values.length);
    device.native.upload(storage.buffer, values, 0);
    return new Tensor(workspace.take(storage), shape, init);
  });
}

/** Shape of nested arrays, checking that they are regular, and their numbers in order. */
function flatten(data: NestedNumbers): { shape: number[]; values: number[] } {
  const shape: number[] = [];
  for (
    let level: NestedNumbers | undefined = data;
    Array.isArray(level);
    level = level[0] as NestedNumbers | undefined
  ) {
    shape.push(level.length);
  }
  const values: number[] = [];
  const visit = (item: NestedNumbers, depth: number): void => {
    if (depth === shape.length) {
      if (typeof item === 'number') {
        values.push(item);
        return;
      }
    } else if (Array.isArray(item) && item.length === shape[depth]) {
      for (const each of item as readonly NestedNumbers[]) visit(each, depth + 1);
      return;
    }
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected nested arrays of numbers of shape ${formatShape(shape)}, got ${Array.isArray(item) ? `an array of ${item.length}` : describe(item)} at depth ${depth}`,
    );
  };
  visit(data, 0);
  return { shape, values };
}

function toInt32(values: ArrayLike<number>): Int32Array {
  const result = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!Number.isInteger(value) || value < INT32_MIN || value > INT32_MAX) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected int32 values to be whole numbers from ${INT32_MIN} to ${INT32_MAX}, got ${value} at ${i}`,
        { value, index: i },
      );
    }
    result[i] = value;
  }
  return result;
}

/** Whether the memory of a typed array was transferred elsewhere, which leaves it without elements. */
function isDetached(data: NumericArray): boolean {
  if (data.length > 0) return false;
  try {
    return new Uint8Array(data.buffer).length < 0;
  } catch {
    return true;
  }
}

/**
 * A tensor of given values, copied from the host.
 *
 * @param data a number, nested arrays of numbers, or a typed array
 * @throws SHAPE_MISMATCH for ragged nesting or a shape of another size; OUT_OF_RANGE for a value
 *   that an int32 cannot hold; DTYPE_MISMATCH for a gradient of integers; INVALID_ARGUMENT for a typed
 *   array that was transferred to another thread
 */
export function tensor(data: TensorData, options: TensorOptions = {}): Tensor {
  const typed = ArrayBuffer.isView(data);
  if (typed && isDetached(data)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      'Expected data to hold its values, got a typed array whose buffer was transferred',
    );
  }
  const flat = typed ? { shape: [data.length], values: data } : flatten(data);
  const kind = Object.prototype.toString.call(data);
  const integers = typed && !kind.startsWith('[object Float');
  const dtype = options.dtype ?? (integers ? 'int32' : 'float32');
  requireDType(dtype, options);
  const shape = options.shape ?? flat.shape;
  requireSizes('shape', shape);
  if (sizeOf(shape) !== flat.values.length) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected ${sizeOf(shape)} values for shape ${formatShape(shape)}, got ${flat.values.length}`,
      { shape, values: flat.values.length },
    );
  }
  const target = resolveDevice(options.device);
  if (dtype === 'int32') {
    const values = toInt32(flat.values);
    return finish(upload(values, shape, { dtype, range: rangeOf(values) }, target), options);
  }
  return finish(upload(new Float32Array(flat.values), shape, {}, target), options);
}

/**
 * A tensor of one repeated value.
 *
 * @throws OUT_OF_RANGE, INVALID_ARGUMENT, DTYPE_MISMATCH
 */
export function full(shape: readonly number[], value: number, options: CreateOptions = {}): Tensor {
  const { dtype = 'float32' } = options;
  requireDType(dtype, options);
  requireSizes('shape', shape);
  const target = resolveDevice(options.device);
  const size = sizeOf(shape);
  if (dtype === 'int32' && value !== 0) {
    const values = toInt32([value]);
    const range = size > 0 ? rangeOf(values) : null;
    return withWorkspace(target, (workspace) => {
      // `fill` takes a float32, so one integer is uploaded and copied as often as needed.
      const storage = workspace.allocate(size);
      const one = workspace.allocate(1);
      target.native.upload(one.buffer, values, 0);
      target.ops.stridedCopy([size], [0], 0, [1], 0, false, one.buffer, storage.buffer);
      return finish(new Tensor(workspace.take(storage), shape, { dtype, range }), options);
    });
  }
  if (typeof value !== 'number') {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected value to be a number, got ${describe(value)}`,
    );
  }
  return withWorkspace(target, (workspace) => {
    const storage = workspace.allocate(size);
    // An int32 zero has the bits of a float32 zero.
    target.ops.fill(size, value, storage.buffer);
    const range = dtype === 'int32' && size > 0 ? { min: 0, max: 0 } : null;
    return finish(new Tensor(workspace.take(storage), shape, { dtype, range }), options);
  });
}

/** A tensor of zeros. See {@link full}. */
export function zeros(shape: readonly number[], options: CreateOptions = {}): Tensor {
  return full(shape, 0, options);
}

/** A tensor of ones. See {@link full}. */
export function ones(shape: readonly number[], options: CreateOptions = {}): Tensor {
  return full(shape, 1, options);
}

function like(x: Tensor, options: CreateOptions): CreateOptions {
  requireTensor('x', x);
  return { ...options, dtype: options.dtype ?? x.dtype, device: options.device ?? x.device };
}

/** Zeros of the shape, dtype and device of x. */
export function zerosLike(x: Tensor, options: CreateOptions = {}): Tensor {
  return full(x.shape, 0, like(x, options));
}

/** Ones of the shape, dtype and device of x. */
export function onesLike(x: Tensor, options: CreateOptions = {}): Tensor {
  return full(x.shape, 1, like(x, options));
}

/** Numbers that a list on the host may hold before it is copied to the device. */
const MAX_HOST_VALUES = 2 ** 26;

/**
 * start, start + step, … up to (not including) end, as a vector.
 *
 * @throws OUT_OF_RANGE for a step of 0; OUT_OF_MEMORY for more than 2^26 numbers
 */
export function arange(
  start: number,
  end: number,
  step: number = 1,
  options: CreateOptions = {},
): Tensor {
  requireNumber('start', start);
  requireNumber('end', end);
  requireNumber('step', step);
  if (step === 0)
    throw new EinlinearError('OUT_OF_RANGE', 'Expected step to be other than 0, got 0');
  const count = Math.max(0, Math.ceil((end - start) / step));
  if (!(count <= MAX_HOST_VALUES)) {
    throw new EinlinearError(
      'OUT_OF_MEMORY',
      `Expected arange to make at most ${MAX_HOST_VALUES} numbers, got ${count}`,
      { start, end, step },
    );
  }
  const values = Array.from({ length: count }, (_, i) => start + i * step);
  return tensor(values, { ...options, shape: [count] });
}

function random(
  kind: (typeof Distribution)[keyof typeof Distribution],
  shape: readonly number[],
  a: number,
  b: number,
  options: RandomOptions,
): Tensor {
  const { dtype = 'float32', generator = defaultGenerator } = options;
  if (dtype !== 'float32') {
    throw new EinlinearError(
      'DTYPE_MISMATCH',
      `Expected random numbers to be of dtype float32, got ${dtype}`,
    );
  }
  requireSizes('shape', shape);
  const target = resolveDevice(options.device);
  const size = sizeOf(shape);
  return withWorkspace(target, (workspace) => {
    const storage = workspace.allocate(size);
    const { seed, offset } = generator.take(size);
    target.ops.random(kind, size, seed, offset, a, b, storage.buffer);
    return finish(new Tensor(workspace.take(storage), shape), options);
  });
}

/**
 * Uniform random numbers in [low, high), by default [0, 1).
 *
 * @throws OUT_OF_RANGE unless low ≤ high
 */
export function rand(
  shape: readonly number[],
  options: RandomOptions & { low?: number; high?: number } = {},
): Tensor {
  const { low = 0, high = 1 } = options;
  requireNumber('low', low);
  requireNumber('high', high, low);
  return random(Distribution.uniform, shape, low, high, options);
}

/**
 * Normal random numbers, by default of mean 0 and standard deviation 1.
 *
 * @throws OUT_OF_RANGE for a negative standard deviation
 */
export function randn(
  shape: readonly number[],
  options: RandomOptions & { mean?: number; std?: number } = {},
): Tensor {
  const { mean = 0, std = 1 } = options;
  requireNumber('mean', mean);
  requireNumber('std', std, 0);
  return random(Distribution.normal, shape, mean, std, options);
}
