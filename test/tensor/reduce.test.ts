import { max, mean, min, ones, sum, tensor, tidy, zeros } from '../../lib/tensor';
import type { Dims, Tensor } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { array, forEachIndex, randomArray } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

function reduceOracle(
  x: NdArray,
  dim: Dims | undefined,
  keepDim: boolean,
  f: (values: number[]) => number,
): NdArray {
  const axes = (dim === undefined ? x.shape.map((_, i) => i) : [dim].flat()).map((axis) =>
    axis < 0 ? axis + x.shape.length : axis,
  );
  const groups = new Map<string, number[]>();
  forEachIndex(x.shape, (index, flat) => {
    const key = index.filter((_, axis) => !axes.includes(axis)).join();
    groups.set(key, [...(groups.get(key) ?? []), x.data[flat]]);
  });
  const shape = keepDim
    ? x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size))
    : x.shape.filter((_, axis) => !axes.includes(axis));
  return array(shape, [...groups.values()].map(f));
}

const total = (values: number[]): number => values.reduce((a, b) => a + b, 0);
const reductions: [
  string,
  (x: Tensor, dim?: Dims, keepDim?: boolean) => Tensor,
  (values: number[]) => number,
][] = [
  ['sum', sum, total],
  ['mean', mean, (values) => total(values) / values.length],
  ['max', max, (values) => Math.max(...values)],
  ['min', min, (values) => Math.min(...values)],
];

const cases: [number[], Dims | undefined][] = [
  [[1], undefined],
  [[7], 0],
  [[3, 5], undefined],
  [[3, 5], 0],
  [[3, 5], -1],
  [[2, 3, 17], 1],
  [
    [2, 3, 17],
    [0, 1],
  ],
  [
    [2, 3, 4, 5],
    [0, 2],
  ],
  [
    [2, 3, 4, 5],
    [-1, 1],
  ],
  [
    [1, 33, 1],
    [0, 2],
  ],
  [[], undefined],
];

describe.each(reductions)('%s', (_name, op, f) => {
  test.each(cases)('shape %j, dim %j', (shape, dim) => {
    for (const keepDim of [false, true]) {
      checkGradients({
        inputs: [randomArray(shape, 21, -2, 2)],
        op: ([x]) => op(x, dim, keepDim),
        oracle: ([x]) => reduceOracle(x, dim, keepDim, f),
      });
    }
  });
});

test('equal extremes share the gradient', () => {
  tidy(() => {
    const x = tensor(
      [
        [1, 3, 3],
        [2, 2, 2],
      ],
      { requiresGrad: true },
    );
    x.max(1).sum().backward();
    const third = Math.fround(1 / 3);
    expect([...(x.grad?.dataSync() ?? [])]).toEqual([0, 0.5, 0.5, third, third, third]);
  });
});

test('large sums are accurate', () => {
  tidy(() => {
    expect(ones([1000, 1000]).sum().item()).toBe(1e6);
    expect(ones([1000, 1000]).mul(0.1).mean().item()).toBeCloseTo(0.1, 6);
  });
});

test('nothing to reduce', () => {
  tidy(() => {
    const none = zeros([0, 4]);
    expect([...none.sum(0).dataSync()]).toEqual([0, 0, 0, 0]);
    expect(none.sum(1).shape).toEqual([0]);
    expect([...none.mean(0).dataSync()]).toEqual([NaN, NaN, NaN, NaN]);
    expect(() => none.max(0)).toThrow('Expected at least one element along the reduced axes');
  });
});

test('bad axes', () => {
  tidy(() => {
    const x = zeros([2, 3]);
    expect(() => x.sum(2)).toThrow('Expected dim to be a whole number from -2 to 1, got 2');
    expect(() => x.sum([0, -2])).toThrow('Expected dim to name each axis once, got [0, -2]');
    expect(() => x.sum(0.5)).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
  });
});
