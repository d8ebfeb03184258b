import type { Compute, Device } from './device';
import { defaultDevice } from './device';
import { refusePromise } from './scope';

/**
 * Runs `body` with products rounded as `compute` says: 'tf32' and 'bfloat16' run on tensor cores. Tensors
 * stay float32, sums too. Backward of what is recorded here computes the same way, whenever it runs.
 *
 * @param on the device that `body` computes on
 * @throws NOT_SUPPORTED where the device cannot compute so; INVALID_ARGUMENT when `body` returns a promise
 */
export function autocast<T>(
  compute: Compute,
  body: () => T,
  { device: on = defaultDevice() }: { device?: Device } = {},
): T {
  const before = on.compute;
  on.compute = compute;
  try {
    const result = body();
    refusePromise('autocast', result);
    return result;
  } finally {
    on.compute = before;
  }
}
