import { layerNorm, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { mapRows, randomArray } from '../support/arrays';
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
