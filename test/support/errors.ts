import { EinlinearError } from '../../lib/errors';

/** The code of the EinlinearError that `call` throws; any other error passes. */
export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof EinlinearError) return error.code;
    throw error;
  }
  return 'no error';
}

/** What a JavaScript caller can pass where the types would have said no. */
export function wrong(value: unknown): never {
  return value as never;
}
