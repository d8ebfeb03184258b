import { attention, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { randomArray, relativeError, softmaxRow, zeros as zeroArray } from '../support/arrays';
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

// Gradients of q, k and v, written out: finite differences take too long for many numbers.
function gradients(
  [q, k, v, dout]: readonly NdArray[],
  scale: number,
  causal: boolean,
): [NdArray, NdArray, NdArray] {
  const [batch, time, heads, width] = q.shape;
  const [dq, dk, dv] = [zeroArray(q.shape), zeroArray(q.shape), zeroArray(q.shape)];
  const row = (n: number, t: number, h: number): number => ((n * time + t) * heads + h) * width;
  const dot = (a: NdArray, i: number, b: NdArray, j: number): number => {
    let total = 0;
    for (let c = 0; c < width; c++) total += a.data[i + c] * b.data[j + c];
    return total;
  };
  const add = (to: NdArray, i: number, factor: number, a: NdArray, j: number): void => {
    for (let c = 0; c < width; c++) to.data[i + c] += factor * a.data[j + c];
  };
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < time; t++) {
        const at = row(n, t, h);
        const keys = Array.from({ length: causal ? t + 1 : time }, (_, s) => row(n, s, h));
        const p = softmaxRow(keys.map((key) => scale * dot(q, at, k, key)));
        const dp = keys.map((key) => dot(dout, at, v, key));
        const mean = p.reduce((total, x, s) => total + x * dp[s], 0);
        keys.forEach((key, s) => {
          const ds = scale * p[s] * (dp[s] - mean);
          add(dv, key, p[s], dout, at);
          add(dq, at, ds, k, key);
          add(dk, key, ds, q, at);
        });
      }
    }
  }
  return [dq, dk, dv];
}

// Sizes beyond the tiles of every backend, and no multiple of them.
test.each([[[1, 300, 1, 16]], [[2, 133, 2, 33]], [[1, 70, 1, 128]], [[1, 67, 2, 150]]])(
  'many rows or a wide head, %j',
  (shape) => {
    for (const causal of [true, false]) {
      const scale = 1.5 / Math.sqrt(shape[3]);
      const arrays = [1, 2, 3, 4].map((seed) => randomArray(shape, 70 + seed, -1.5, 1.5));
      tidy(() => {
        const [q, k, v, dout] = arrays.map(({ data }) =>
          tensor(data, { shape, requiresGrad: true }),
        );
        const o = attention(q, k, v, { scale, causal });
        const expected = oracle(arrays[0], arrays[1], arrays[2], scale, causal);
        expect(relativeError(o.dataSync(), expected.data)).toBeLessThanOrEqual(5e-6);
        o.backward(dout);
        gradients(arrays, scale, causal).forEach(({ data }, i) => {
          expect(relativeError([q, k, v][i].grad!.dataSync(), data)).toBeLessThanOrEqual(5e-6);
        });
      });
    }
  },
);

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
