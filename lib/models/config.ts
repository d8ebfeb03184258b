import { requireObject } from '../checks';
import { EinlinearError } from '../errors';

/** What a model's configuration gets wrong is named in the error. */
export function configError(name: string, expected: string, got: unknown): EinlinearError {
  return new EinlinearError(
    'INVALID_ARGUMENT',
    `Expected ${name} to be ${expected}, got ${typeof got === 'string' ? `'${got}'` : JSON.stringify(got)}`,
    { [name]: got },
  );
}

/** @throws EinlinearError INVALID_ARGUMENT unless every named value is a positive integer */
export function requirePositiveIntegers(values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw configError(name, 'a positive integer', value);
    }
  }
}

/** @throws EinlinearError INVALID_ARGUMENT unless every named value is a finite number >= 0 */
export function requireNonNegative(values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isFinite(value) || value < 0)
      throw configError(name, 'a number of at least 0', value);
  }
}

/** @throws EinlinearError INVALID_ARGUMENT unless the configuration is an object without a key that `known` lacks */
export function rejectUnknownKeys(name: string, config: object, known: readonly string[]): void {
  requireObject(name, config);
  const unknown = Object.keys(config).filter((key) => !known.includes(key));
  if (unknown.length > 0) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected only the settings ${known.join(', ')}, got ${unknown.join(', ')}`,
      { unknown },
    );
  }
}
