import { logSoftmax, softmax, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import {
  array,
  logSumExp,
  mapRows,
  randomArray,
  softmaxRow,
  zeros as zeroArray,
} from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

const logSoftmaxRow = (row: Float64Array): Float64Array => {
  const lse = logSumExp(row);
  return row.map((x) => x - lse);
};

function swapped(x: NdArray): NdArray {
  const [m, n] = x.shape;
  const result = zeroArray([n, m]);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) result.data[j * m + i] = x.data[i * n + j];
  return result;
}

test.each([[[1]], [[7]], [[3, 5]], [[2, 3, 33]], [[4, 1]]])('last axis of %j', (shape) => {
  const inputs = [randomArray(shape, 61, -4, 4)];
  checkGradients({
    inputs,
    op: ([x]) => softmax(x),
    oracle: ([x]) => mapRows(x, softmaxRow),
    gradientTolerance: 5e-5,
  });
  checkGradients({
    inputs,
    op: ([x]) => logSoftmax(x),
    oracle: ([x]) => mapRows(x, logSoftmaxRow),
    gradientTolerance: 5e-5,
  });
});

test('another axis', () => {
  checkGradients({
    inputs: [randomArray([5, 3], 62, -4, 4)],
    op: ([x]) => softmax(x, 0),
    oracle: ([x]) => swapped(mapRows(swapped(x), softmaxRow)),
  });
});

test('large and infinite values', () => {
  tidy(() => {
    const x = tensor([
      [1000, 1000, -Infinity],
      [-1000, 0, 1000],
    ]);
    expect([...softmax(x).dataSync()]).toEqual([0.5, 0.5, 0, 0, 0, 1]);
    expect([...logSoftmax(x).dataSync()].slice(3)).toEqual([-2000, -1000, 0]);
  });
});

test('nothing, and bad axes', () => {
  tidy(() => {
    expect(softmax(zeros([0, 3])).shape).toEqual([0, 3]);
    expect(softmax(zeros([3, 0])).shape).toEqual([3, 0]);
    expect(() => softmax(zeros([]))).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
    expect(() => softmax(zeros([2]), 1)).toThrow(
      'Expected dim to be a whole number from -1 to 0, got 1',
    );
  });
});

test('rows sum to one', () => {
  tidy(() => {
    const x = randomArray([100, 37], 63, -20, 20);
    const sums = softmax(tensor(x.data, { shape: x.shape }))
      .sum(1)
      .dataSync();
    for (const sum of sums) expect(sum).toBeCloseTo(1, 5);
    expect(array([100], sums).shape).toEqual([100]);
  });
});
