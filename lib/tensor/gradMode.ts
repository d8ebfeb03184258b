import { refusePromise } from './scope';

let enabled = true;

/** Whether ops are recorded for backward. */
export function isGradEnabled(): boolean {
  return enabled;
}

/**
 * Runs `body` without recording: results do not require gradients and nothing is saved.
 *
 * @throws INVALID_ARGUMENT when `body` returns a promise
 */
export function noGrad<T>(body: () => T): T {
  const before = enabled;
  enabled = false;
  try {
    const result = body();
    refusePromise('noGrad', result);
    return result;
  } finally {
    enabled = before;
  }
}
