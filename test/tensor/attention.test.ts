import { attention, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { randomArray, softmaxRow, zeros as zeroArray } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

function oracle(q: NdArray, k: NdArray, v: NdArray, scale: number, causal: boolean): NdArray {
  const [batch, time, heads, width] = q.shape;
  const o = zeroArray(q.shape);
  const row = (n: number, t: number, h: number): number => ((n * time + t) * heads + h) * width;
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < time; t++) {
        const seen = causal ? t + 1 : time;
        const scores = Array.from({ length: seen }, (_, s) => {
          let score = 0;
          for (let i = 0; i < width; i++) {
            score += q.data[row(n, t, h) + i] * k.data[row(n, s, h) + i];
          }
          return score * scale;
        });
        softmaxRow(scores).forEach((p, s) => {
          for (let i = 0; i < width; i++) {
            o.data[row(n, t, h) + i] += p * v.data[row(n, s, h) + i];
          }
        });
      }
    }
  }
  return o;
}

test.each([[[1, 1, 1, 1]], [[2, 3, 2, 4]], [[1, 17, 1, 5]], [[1, 9, 3, 8]], [[3, 2, 1, 3]]])(
  'shape %j',
  (shape) => {
    for (const causal of [true, false]) {
      const scale = 0.7;
      checkGradients({
        inputs: [1, 2, 3].map((seed) => randomArray(shape, 90 + seed, -1.5, 1.5)),
        op: ([q, k, v]) => attention(q, k, v, { scale, causal }),
        oracle: ([q, k, v]) => oracle(q, k, v, scale, causal),
        tolerance: 5e-6,
        gradientTolerance: 5e-5,
      });
    }
  },
);

test('a long sequence', () => {
  const shape = [1, 70, 1, 2];
  checkGradients({
    inputs: [1, 2, 3].map((seed) => randomArray(shape, 95 + seed, -1.5, 1.5)),
    op: ([q, k, v]) => attention(q, k, v, { causal: true }),
    oracle: ([q, k, v]) => oracle(q, k, v, 1 / Math.sqrt(2), true),
    tolerance: 5e-6,
    gradientTolerance: 5e-5,
  });
});

test.each([0, -1.5])('a scale of %d, causal', (scale) => {
  checkGradients({
    inputs: [1, 2, 3].map((seed) => randomArray([1, 37, 1, 5], 95 + seed, -1.5, 1.5)),
    op: ([q, k, v]) => attention(q, k, v, { causal: true, scale }),
    oracle: ([q, k, v]) => oracle(q, k, v, scale, true),
    tolerance: 5e-6,
    gradientTolerance: 5e-5,
  });
});

test('one tensor as query, key and value', () => {
  checkGradients({
    inputs: [randomArray([1, 5, 1, 4], 99)],
    op: ([x]) => attention(x, x, x),
    oracle: ([x]) => oracle(x, x, x, 0.5, false),
    gradientTolerance: 5e-5,
  });
});

test('nothing, and bad shapes', () => {
  tidy(() => {
    expect(attention(zeros([0, 3, 2, 4]), zeros([0, 3, 2, 4]), zeros([0, 3, 2, 4])).shape).toEqual([
      0, 3, 2, 4,
    ]);
    expect(() => attention(zeros([1, 2, 3]), zeros([1, 2, 3]), zeros([1, 2, 3]))).toThrow(
      'Expected q to have shape [batch, time, heads, width], got [1, 2, 3]',
    );
    expect(() => attention(zeros([1, 2, 3, 4]), zeros([1, 2, 3, 5]), zeros([1, 2, 3, 4]))).toThrow(
      'Expected k to have shape [1, 2, 3, 4]',
    );
  });
});
