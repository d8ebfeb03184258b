import { requireArray } from '../checks';
import { EinlinearError } from '../errors';
import { tidy, zeros, type Tensor } from '../tensor';
import { requireSameDevice, requireTensor } from '../tensor/checks';
import type { Parameter } from '../nn';

/** Global gradient norm and the factor that brings it down to the limit; scalars on the device. */
export interface ClippedNorm {
  /** Euclidean norm over all gradients, before clipping. */
  norm: Tensor;
  /** min(1, maxNorm / (norm + 1e-6)), to be given to `Optimizer.step` as `gradScale`. */
  scale: Tensor;
}

/**
 * Measures the gradients for clipping without waiting for the device; the gradients stay as they are.
 *
 * @param maxNorm limit of the global norm; Infinity only measures
 * @throws EinlinearError INVALID_ARGUMENT if no parameter has a gradient, or maxNorm is not positive;
 *   DEVICE_MISMATCH for gradients on several devices; DISPOSED
 */
export function clipGradNorm(parameters: readonly Parameter[], maxNorm: number): ClippedNorm {
  if (!(maxNorm > 0)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected maxNorm to be positive, got ${maxNorm}`,
      {
        maxNorm,
      },
    );
  }
  requireArray('parameters', parameters);
  parameters.forEach((parameter, i) => requireTensor(`parameters[${i}]`, parameter));
  const grads = parameters.map((parameter) => parameter.grad).filter((grad) => grad !== null);
  if (grads.length === 0) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected at least one parameter with a gradient, got ${parameters.length} without`,
    );
  }
  const device = requireSameDevice(
    Object.fromEntries(grads.map((grad, i) => [`gradient ${i}`, grad])),
  );
  return tidy(() => {
    const squares = zeros([grads.length], { device });
    grads.forEach((grad, slot) =>
      device.ops.sumSquares(grad.size, slot, grad.buffer, squares.buffer),
    );
    const norm = zeros([], { device });
    const scale = zeros([], { device });
    const limit = Math.min(maxNorm, LARGEST_FLOAT);
    device.ops.clipScale(grads.length, limit, squares.buffer, norm.buffer, scale.buffer);
    return { norm, scale };
  });
}

/** Largest finite float32: the limit is one on the device. */
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;
