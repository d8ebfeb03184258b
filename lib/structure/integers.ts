import { EinlinearError } from '../errors';

/**
 * Returns `value` if it is a whole number of at least one.
 *
 * @throws EinlinearError INVALID_ARGUMENT naming the value.
 */
export function positiveInteger(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be a positive integer, got ${String(value)}`,
      { [name]: value },
    );
  }
  return value;
}

/** Rounds to the nearest integer, halves to the even one, as Python's `round` does. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return fraction < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
