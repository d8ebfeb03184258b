import { layerNorm, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { mapRows, randomArray, relativeError } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

function oracle(x: NdArray, gain: NdArray | null, bias: NdArray | null, eps: number): NdArray {
  return mapRows(x, (row) => {
    const mean = row.reduce((a, b) => a + b, 0) / row.length;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length;
    return row.map(
      (value, i) =>
        ((value - mean) / Math.sqrt(variance + eps)) * (gain?.data[i] ?? 1) + (bias?.data[i] ?? 0),
    );
  });
}

test.each([[[5]], [[1, 2]], [[33, 7]], [[2, 3, 17]], [[100, 4]]])('shape %j', (shape) => {
  const cols = shape[shape.length - 1];
  const x = randomArray(shape, 71, -2, 3);
  const gain = randomArray([cols], 72, 0.5, 1.5);
  const bias = randomArray([cols], 73);
  // Two features are always ±1 after the norm: without a large eps there is no gradient.
  const eps = cols === 2 ? 0.5 : 1e-3;
  const tolerances = { tolerance: 5e-6, gradientTolerance: 1e-4 };
  checkGradients({
    inputs: [x, gain, bias],
    op: ([x, g, b]) => layerNorm(x, g, b, eps),
    oracle: ([x, g, b]) => oracle(x, g, b, eps),
    ...tolerances,
  });
  checkGradients({
    inputs: [x, gain],
    op: ([x, g]) => layerNorm(x, g, null, eps),
    oracle: ([x, g]) => oracle(x, g, null, eps),
    ...tolerances,
  });
  checkGradients({
    inputs: [x, bias],
    op: ([x, b]) => layerNorm(x, null, b, eps),
    oracle: ([x, b]) => oracle(x, null, b, eps),
    ...tolerances,
  });
  checkGradients({
    inputs: [x],
    op: ([x]) => layerNorm(x, null, null, eps),
    oracle: ([x]) => oracle(x, null, null, eps),
    ...tolerances,
  });
});

test('gradients of the gain alone', () => {
  tidy(() => {
    const gain = tensor([1, 1, 1], { requiresGrad: true });
    const x = tensor([[1, 2, 3]]);
    layerNorm(x, gain, null, 0).sum().backward();
    const r = Math.sqrt(1.5);
    [-r, 0, r].forEach((value, i) => expect(gain.grad?.dataSync()[i]).toBeCloseTo(value, 5));
    expect(x.grad).toBeNull();
  });
});

test('no rows', () => {
  tidy(() => {
    const gain = zeros([3], { requiresGrad: true });
    const bias = zeros([3], { requiresGrad: true });
    const y = layerNorm(zeros([0, 3]), gain, bias);
    y.backward(zeros([0, 3]));
    expect([...(gain.grad?.dataSync() ?? [])]).toEqual([0, 0, 0]);
    expect([...(bias.grad?.dataSync() ?? [])]).toEqual([0, 0, 0]);
  });
});

test('bad shapes', () => {
  tidy(() => {
    expect(() => layerNorm(zeros([2, 3]), zeros([2]))).toThrow(
      'Expected gain to have shape [3] ([features]), got [2]',
    );
    expect(() => layerNorm(zeros([]))).toThrow('Expected x to have at least one axis');
    expect(() => layerNorm(zeros([2]), null, null, -1)).toThrow('Expected eps');
  });
});

test.each([[[5, 700]], [[2, 2049]]])('rows of many threads, shape %j', ([rows, cols]) => {
  tidy(() => {
    const values = randomArray([rows, cols], 74, -2, 3);
    const x = tensor(values.data, { shape: [rows, cols], requiresGrad: true });
    const y = layerNorm(x, null, null, 1e-5);
    expect(relativeError(y.dataSync(), oracle(values, null, null, 1e-5).data)).toBeLessThan(2e-6);
    // d(sum of y^3)/dx by the formula of the backward: dy less its mean and its part along y, over the deviation.
    y.square().mul(y).sum().backward();
    const gradient = mapRows(values, (row) => {
      const mean = row.reduce((a, b) => a + b, 0) / cols;
      const deviation = Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / cols + 1e-5);
      const unit = row.map((value) => (value - mean) / deviation);
      const dy = unit.map((value) => 3 * value ** 2);
      const average = dy.reduce((a, b) => a + b, 0) / cols;
      const along = dy.reduce((a, b, i) => a + b * unit[i], 0) / cols;
      return dy.map((value, i) => (value - average - unit[i] * along) / deviation);
    });
    expect(relativeError(x.grad!.dataSync(), gradient.data)).toBeLessThan(1e-5);
  });
});
