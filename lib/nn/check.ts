import { EinlinearError } from '../errors';

/** @throws EinlinearError INVALID_ARGUMENT unless value is an integer >= 1 */
export function requirePositiveInteger(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be a positive integer, got ${String(value)}`,
      { [name]: value },
    );
  }
}

/** @throws EinlinearError OUT_OF_RANGE if value exceeds limit */
export function requireAtMost(name: string, value: number, limit: number, what: string): void {
  if (value > limit) {
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected ${name} to be at most ${limit} (${what}), got ${value}`,
      { [name]: value, limit },
    );
  }
}

/** @throws EinlinearError INVALID_ARGUMENT unless value is a number with low <= value < high */
export function requireInRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be at least ${low} and less than ${high}, got ${String(value)}`,
      { [name]: value },
    );
  }
}
