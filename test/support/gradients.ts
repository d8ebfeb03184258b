import type { Device, Tensor } from '../../lib/tensor';
import { defaultDevice, tensor, tidy } from '../../lib/tensor';
import type { NdArray } from './arrays';
import { randomArray, relativeError } from './arrays';

export interface GradientCheck {
  /** Values of the differentiable inputs. */
  inputs: readonly NdArray[];
  /** The op under test. */
  op: (inputs: Tensor[]) => Tensor;
  /** The same function in float64. */
  oracle: (inputs: readonly NdArray[]) => NdArray;
  device?: Device;
  /** Norm-relative error allowed in the result (float32). */
  tolerance?: number;
  /** Norm-relative error allowed in the gradients. */
  gradientTolerance?: number;
}

/** d(Σ y·dy)/dx of a float64 function by central differences. */
export function finiteDifferences(
  oracle: GradientCheck['oracle'],
  inputs: readonly NdArray[],
  which: number,
  dy: Float64Array,
): Float64Array {
  const step = 1e-6;
  const copies = inputs.map(({ shape, data }) => ({ shape, data: data.slice() }));
  const { data } = copies[which];
  const value = (): number => oracle(copies).data.reduce((total, y, i) => total + y * dy[i], 0);
  return data.map((x, i) => {
    data[i] = x + step;
    const above = value();
    data[i] = x - step;
    const below = value();
    data[i] = x;
    return (above - below) / (2 * step);
  });
}

/**
 * Compares an op with its float64 oracle, and its gradients of Σ y·dy for a random dy with finite
 * differences of the oracle.
 */
export function checkGradients(check: GradientCheck): void {
  const { inputs, op, oracle, device = defaultDevice() } = check;
  const { tolerance = 2e-6, gradientTolerance = 2e-5 } = check;
  tidy(() => {
    const tensors = inputs.map(({ shape, data }) =>
      tensor(data, { shape, device, requiresGrad: true }),
    );
    const y = op(tensors);
    const expected = oracle(inputs);
    expect(y.shape).toEqual(expected.shape);
    expect(relativeError(y.dataSync(), expected.data)).toBeLessThanOrEqual(tolerance);

    const dy = randomArray(expected.shape, 4321);
    y.backward(tensor(dy.data, { shape: dy.shape, device }));
    inputs.forEach((input, i) => {
      const { grad } = tensors[i];
      expect(grad?.shape).toEqual(input.shape);
      const numeric = finiteDifferences(oracle, inputs, i, dy.data);
      expect(relativeError(grad?.dataSync() ?? [], numeric)).toBeLessThanOrEqual(gradientTolerance);
    });
  });
}
