import { describe as describeValue } from '../checks';
import { EinlinearError } from '../errors';
import type { Device } from './device';
import { Tensor } from './tensor';

/** A shape as messages show it. */
export function formatShape(shape: readonly (number | string)[]): string {
  return `[${shape.join(', ')}]`;
}

/** A value, which may be a tensor, as messages show it. */
export function describe(value: unknown): string {
  return value instanceof Tensor
    ? `a tensor of shape ${formatShape(value.shape)}`
    : describeValue(value);
}

/** A live tensor. */
export function requireTensor(name: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be a Tensor, got ${describe(value)}`,
    );
  }
  if (value.isDisposed) {
    throw new EinlinearError(
      'DISPOSED',
      `Expected ${name} to be a live tensor, got ${value.label} of shape ${formatShape(value.shape)} that was disposed`,
      { name, shape: value.shape },
    );
  }
}

/** A live float32 tensor. */
export function requireFloat(name: string, value: unknown): asserts value is Tensor {
  requireDType(name, value, 'float32');
}

/** A live int32 tensor. */
export function requireInt(name: string, value: unknown): asserts value is Tensor {
  requireDType(name, value, 'int32');
}

function requireDType(name: string, value: unknown, dtype: Tensor['dtype']): void {
  requireTensor(name, value);
  if (value.dtype !== dtype) {
    throw new EinlinearError(
      'DTYPE_MISMATCH',
      `Expected ${name} to be of dtype ${dtype}, got ${value.dtype}`,
      { name, dtype: value.dtype },
    );
  }
}

/** All tensors on one device; returns it. */
export function requireSameDevice(tensors: Record<string, Tensor | null>): Device {
  let first: [string, Tensor] | null = null;
  for (const [name, tensor] of Object.entries(tensors)) {
    if (tensor === null) continue;
    if (first === null) {
      first = [name, tensor];
    } else if (tensor.device !== first[1].device) {
      throw new EinlinearError(
        'DEVICE_MISMATCH',
        `Expected ${name} to be on the device of ${first[0]} (${first[1].device.toString()}), got one on another device (${tensor.device.toString()})`,
        { name },
      );
    }
  }
  if (first === null) throw new EinlinearError('INTERNAL', 'Expected at least one tensor');
  return first[1].device;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

/**
 * Exactly this shape. `names` tells what the sizes stand for.
 */
export function requireShape(
  name: string,
  tensor: Tensor,
  shape: readonly number[],
  names?: readonly string[],
): void {
  if (sameShape(tensor.shape, shape)) return;
  const meaning = names === undefined ? '' : ` (${formatShape(names)})`;
  throw new EinlinearError(
    'SHAPE_MISMATCH',
    `Expected ${name} to have shape ${formatShape(shape)}${meaning}, got ${formatShape(tensor.shape)}`,
    { name, expected: shape, shape: tensor.shape },
  );
}

/** Exactly as many axes as there are names. */
export function requireAxes(name: string, tensor: Tensor, names: readonly string[]): void {
  if (tensor.ndim === names.length) return;
  throw new EinlinearError(
    'SHAPE_MISMATCH',
    `Expected ${name} to have shape ${formatShape(names)}, got ${formatShape(tensor.shape)}`,
    { name, shape: tensor.shape },
  );
}

/** At least one axis, the last of size `size`. Returns the product of the leading axes. */
export function requireLastAxis(
  name: string,
  tensor: Tensor,
  size: number,
  meaning: string,
): number {
  const last = tensor.shape[tensor.ndim - 1];
  if (last !== size) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected the last axis of ${name} to be ${meaning} = ${size}, got shape ${formatShape(tensor.shape)}`,
      { name, expected: size, shape: tensor.shape },
    );
  }
  return leadingSize(tensor);
}

/** At least one axis. */
export function requireAxis(name: string, tensor: Tensor): void {
  if (tensor.ndim >= 1) return;
  throw new EinlinearError(
    'SHAPE_MISMATCH',
    `Expected ${name} to have at least one axis, got shape []`,
    { name, shape: tensor.shape },
  );
}

/** Product of all axes but the last. */
export function leadingSize(tensor: Tensor): number {
  return tensor.shape.slice(0, -1).reduce((product, size) => product * size, 1);
}

/** A whole number in [min, max]. */
export function requireInteger(
  name: string,
  value: unknown,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new EinlinearError(
    typeof value === 'number' ? 'OUT_OF_RANGE' : 'INVALID_ARGUMENT',
    `Expected ${name} to be a whole number ${range}, got ${describe(value)}`,
    { name, value },
  );
}

/** A number in [min, max], not NaN. */
export function requireNumber(
  name: string,
  value: unknown,
  min: number = -Infinity,
  max: number = Infinity,
): asserts value is number {
  if (typeof value === 'number' && value >= min && value <= max) return;
  const range =
    min === -Infinity && max === Infinity
      ? ''
      : max === Infinity
        ? ` of at least ${min}`
        : ` from ${min} to ${max}`;
  throw new EinlinearError(
    typeof value === 'number' ? 'OUT_OF_RANGE' : 'INVALID_ARGUMENT',
    `Expected ${name} to be a number${range}, got ${describe(value)}`,
    { name, value },
  );
}

/** An axis of a tensor, counted from the end when negative; returns it counted from the start. */
export function requireDim(name: string, dim: unknown, ndim: number): number {
  if (ndim === 0) {
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected ${name} to name an axis, got ${describe(dim)} for a tensor of shape []`,
      { dim },
    );
  }
  requireInteger(name, dim, -ndim, ndim - 1);
  return dim < 0 ? dim + ndim : dim;
}

/** Every value of an int32 tensor in [min, max], as far as its values are known on the host. */
export function requireValues(name: string, tensor: Tensor, min: number, max: number): void {
  const { range } = tensor;
  if (range === null || tensor.size === 0) return;
  const value = range.min < min ? range.min : range.max > max ? range.max : null;
  if (value === null) return;
  throw new EinlinearError(
    'OUT_OF_RANGE',
    `Expected the values of ${name} to be from ${min} to ${max}, got ${value}`,
    { name, value },
  );
}
