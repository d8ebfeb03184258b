import { EinlinearError } from './errors';

// Checks that every layer of the package makes of what JavaScript callers pass.

/** A value as messages show it. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** @throws EinlinearError INVALID_ARGUMENT unless value is an object, and no array */
export function requireObject(name: string, value: unknown): asserts value is object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return;
  throw invalid(name, 'an object', value);
}

/** @throws EinlinearError INVALID_ARGUMENT unless value is an array */
export function requireArray(name: string, value: unknown): asserts value is readonly unknown[] {
  if (Array.isArray(value)) return;
  throw invalid(name, 'an array', value);
}

/** @throws EinlinearError INVALID_ARGUMENT unless every named value is true or false */
export function requireBooleans(values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (typeof value !== 'boolean') throw invalid(name, 'true or false', value);
  }
}

/** @throws EinlinearError INVALID_ARGUMENT unless value is one of those allowed */
export function requireOneOf<T extends string>(
  name: string,
  value: unknown,
  allowed: readonly T[],
): asserts value is T {
  if ((allowed as readonly unknown[]).includes(value)) return;
  throw invalid(name, allowed.map((each) => `'${each}'`).join(' or '), value);
}

function invalid(name: string, expected: string, value: unknown): EinlinearError {
  const got = describe(value);
  // Details can be logged as JSON; a module or tensor cannot.
  const detail = typeof value === 'object' || typeof value === 'function' ? got : value;
  return new EinlinearError('INVALID_ARGUMENT', `Expected ${name} to be ${expected}, got ${got}`, {
    [name]: detail,
  });
}
