import { crossEntropy, mseLoss, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { array, logSumExp, randomArray } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

function oracle(logits: NdArray, targets: number[], ignoreIndex: number): NdArray {
  const classes = logits.shape[logits.shape.length - 1];
  let total = 0;
  let counted = 0;
  targets.forEach((target, row) => {
    if (target === ignoreIndex) return;
    const values = logits.data.subarray(row * classes, (row + 1) * classes);
    total += logSumExp(values) - values[target];
    counted += 1;
  });
  return array([], [counted === 0 ? 0 : total / counted]);
}

const ids = (values: number[], shape: number[] = [values.length]) =>
  tensor(Int32Array.from(values), { shape });

test.each<[number[], number[], number]>([
  [[1], [1], 3],
  [[33], Array.from({ length: 33 }, (_, i) => i % 7), 7],
  [[2, 3], [0, 4, 2, 1, 1, 0], 5],
  [[100], Array.from({ length: 100 }, (_, i) => (i * 3) % 4), 4],
  [[4], [-100, 1, -100, 2], 3],
  [[3], [2, 2, 2], 3],
])('cross entropy of %j rows, targets %j', (lead, targets, classes) => {
  checkGradients({
    inputs: [randomArray([...lead, classes], 101, -4, 4)],
    op: ([logits]) => crossEntropy(logits, ids(targets, lead)),
    oracle: ([logits]) => oracle(logits, targets, -100),
  });
});

test('another ignoreIndex, and a scaled loss', () => {
  checkGradients({
    inputs: [randomArray([4, 3], 102, -4, 4)],
    op: ([logits]) => crossEntropy(logits, ids([0, 1, 2, 0]), { ignoreIndex: 0 }).mul(3),
    oracle: ([logits]) => {
      const loss = oracle(logits, [0, 1, 2, 0], 0);
      return array([], [3 * loss.data[0]]);
    },
  });
});

test('no row that counts', () => {
  tidy(() => {
    for (const [rows, targets] of [
      [2, [-100, -100]],
      [0, []],
    ] as [number, number[]][]) {
      const logits = zeros([rows, 3], { requiresGrad: true });
      const loss = crossEntropy(logits, ids(targets));
      expect(loss.item()).toBe(0);
      loss.backward();
      expect([...(logits.grad?.dataSync() ?? [])]).toEqual(new Array(rows * 3).fill(0));
    }
  });
});

test('targets out of range', async () => {
  tidy(() => {
    expect(() => crossEntropy(zeros([2, 3]), ids([0, 3]))).toThrow(
      'Expected the values of targets to be from 0 to 2 (or ignoreIndex -100), got 3',
    );
    expect(() => crossEntropy(zeros([2, 3]), ids([0, -1]))).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
    expect(() => crossEntropy(zeros([2, 3]), ids([0]))).toThrow(
      'Expected targets to have shape [2], got [1]',
    );
  });
  const [logits, targets] = [zeros([3, 3]), ids([-100, -50, 1])];
  const loss = crossEntropy(logits, targets);
  await expect(loss.data()).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
  [logits, targets, loss].forEach((each) => each.dispose());
});

test('logits that are not finite do not stop the device', () => {
  tidy(() => {
    const loss = crossEntropy(tensor([[NaN, 0, 1]]), ids([1]));
    expect(loss.item()).toBeNaN();
    expect(crossEntropy(tensor([[0, 0]]), ids([1])).item()).toBeCloseTo(Math.LN2, 6);
  });
});

test.each([[[1]], [[7]], [[3, 5]], [[2, 3, 4]]])('mean squared error of %j', (shape) => {
  checkGradients({
    inputs: [randomArray(shape, 103), randomArray(shape, 104)],
    op: ([a, b]) => mseLoss(a, b),
    oracle: ([a, b]) => {
      const total = a.data.reduce((sum, x, i) => sum + (x - b.data[i]) ** 2, 0);
      return array([], [total / a.data.length]);
    },
  });
});

test('mean squared error of different shapes', () => {
  tidy(() => {
    expect(mseLoss(zeros([0, 2]), zeros([0, 2])).item()).toBeNaN();
    expect(() => mseLoss(zeros([2]), zeros([2, 1]))).toThrow(
      'Expected prediction and target to have the same shape, got [2] and [2, 1]',
    );
  });
});
