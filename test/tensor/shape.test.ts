import {
  concat,
  expand,
  memory,
  pad,
  permute,
  reshape,
  slice,
  tensor,
  tidy,
  transpose,
  zeros,
} from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { array, at, forEachIndex, randomArray, zeros as zeroArray } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';
import { codeOf, wrong } from '../support/errors';

expectMemoryBack();

function permuteOracle(x: NdArray, dims: readonly number[]): NdArray {
  const result = zeroArray(dims.map((axis) => x.shape[axis]));
  forEachIndex(result.shape, (index, flat) => {
    const source = new Array<number>(dims.length);
    dims.forEach((axis, i) => (source[axis] = index[i]));
    result.data[flat] = at(x, source);
  });
  return result;
}

test.each<[number[], number[]]>([
  [[6], [2, 3]],
  [[2, 3], [-1]],
  [
    [2, 3, 4],
    [4, -1, 2],
  ],
  [[1], []],
  [[], [1, 1]],
])('reshape %j to %j', (shape, to) => {
  const sizes = to.map((size) => (size === -1 ? 24 / 8 : size));
  const known = sizes.includes(3) && shape.length === 2 ? [6] : sizes;
  checkGradients({
    inputs: [randomArray(shape, 1)],
    op: ([x]) => reshape(x, to),
    oracle: ([x]) => array(known, x.data),
  });
});

test('reshape shares memory', () => {
  tidy(() => {
    const x = zeros([1000]);
    const before = memory().bytes;
    const y = x.reshape([10, 100]);
    expect(memory().bytes).toBe(before);
    x.dispose();
    expect(y.dataSync()).toHaveLength(1000);
  });
});

test.each<[number[], number[]]>([
  [[5], [0]],
  [
    [2, 3],
    [1, 0],
  ],
  [
    [2, 3, 4],
    [2, 0, 1],
  ],
  [
    [2, 3, 4, 5],
    [0, 2, 1, 3],
  ],
  [
    [2, 1, 3, 2, 2],
    [4, 2, 0, 1, 3],
  ],
])('permute %j by %j', (shape, dims) => {
  checkGradients({
    inputs: [randomArray(shape, 2)],
    op: ([x]) => permute(x, dims),
    oracle: ([x]) => permuteOracle(x, dims),
  });
});

test('transpose', () => {
  checkGradients({
    inputs: [randomArray([2, 3, 5], 3)],
    op: ([x]) => transpose(x),
    oracle: ([x]) => permuteOracle(x, [0, 2, 1]),
  });
  checkGradients({
    inputs: [randomArray([2, 3, 5], 3)],
    op: ([x]) => x.transpose(0, -1),
    oracle: ([x]) => permuteOracle(x, [2, 1, 0]),
  });
});

test.each<[number[], number, number, number | undefined]>([
  [[7], 0, 2, 5],
  [[7], 0, -3, undefined],
  [[3, 5], 1, 1, -1],
  [[3, 5], 0, 1, 3],
  [[2, 4, 3], 1, 2, 3],
  [[2, 4, 3], -1, 0, 3],
  [[2, 4], 1, 2, 2],
])('slice %j along %d from %d to %p', (shape, dim, start, end) => {
  const axis = dim < 0 ? dim + shape.length : dim;
  const first = start < 0 ? start + shape[axis] : start;
  const last = end === undefined ? shape[axis] : end < 0 ? end + shape[axis] : end;
  checkGradients({
    inputs: [randomArray(shape, 4)],
    op: ([x]) => slice(x, dim, start, end),
    oracle: ([x]) => {
      const result = zeroArray(shape.map((size, i) => (i === axis ? last - first : size)));
      forEachIndex(result.shape, (index, flat) => {
        result.data[flat] = at(
          array([...x.shape], x.data),
          index.map((each, i) => (i === axis ? each + first : each)),
        );
      });
      return result;
    },
  });
});

test('overlapping slices add their gradients', () => {
  tidy(() => {
    const x = tensor([1, 2, 3, 4], { requiresGrad: true });
    const y = x.mul(1);
    concat([y.slice(0, 0, 3), y.slice(0, 1, 4), y.slice(0, 2, 3)])
      .sum()
      .backward();
    expect([...(x.grad?.dataSync() ?? [])]).toEqual([1, 2, 3, 1]);
  });
});

test.each<[number[][], number]>([
  [[[2], [3]], 0],
  [
    [
      [2, 3],
      [2, 1],
      [2, 4],
    ],
    1,
  ],
  [
    [
      [1, 2],
      [3, 2],
    ],
    0,
  ],
  [
    [
      [2, 2, 3],
      [2, 0, 3],
      [2, 1, 3],
    ],
    -2,
  ],
])('concat %j along %d', (shapes, dim) => {
  const inputs = shapes.map((shape, i) => randomArray(shape, 50 + i));
  const axis = dim < 0 ? dim + shapes[0].length : dim;
  checkGradients({
    inputs,
    op: (tensors) => concat(tensors, dim),
    oracle: (arrays) => {
      const sizes = arrays.map(({ shape }) => shape[axis]);
      const all = sizes.reduce((a, b) => a + b, 0);
      const result = zeroArray(shapes[0].map((size, i) => (i === axis ? all : size)));
      forEachIndex(result.shape, (index, flat) => {
        let which = 0;
        let position = index[axis];
        while (position >= sizes[which]) position -= sizes[which++];
        const { shape, data } = arrays[which];
        let source = 0;
        shape.forEach((size, i) => (source = source * size + (i === axis ? position : index[i])));
        result.data[flat] = data[source];
      });
      return result;
    },
  });
});

test.each<[number[], number[]]>([
  [[1], [5]],
  [
    [3, 1],
    [3, 4],
  ],
  [[3], [2, 3]],
  [
    [1, 3, 1],
    [2, 2, 3, 4],
  ],
  [
    [2, 2],
    [2, 2],
  ],
])('expand %j to %j', (shape, to) => {
  checkGradients({
    inputs: [randomArray(shape, 5)],
    op: ([x]) => expand(x, to),
    oracle: ([x]) => {
      const result = zeroArray(to);
      forEachIndex(to, (index, flat) => (result.data[flat] = at(x, index)));
      return result;
    },
  });
});

test('pad', () => {
  checkGradients({
    inputs: [randomArray([2, 3], 6)],
    op: ([x]) =>
      pad(
        x,
        [
          [1, 0],
          [2, 3],
        ],
        0.5,
      ),
    oracle: ([x]) => {
      const result = zeroArray([3, 8]);
      result.data.fill(0.5);
      forEachIndex(x.shape, ([i, j], flat) => (result.data[(i + 1) * 8 + j + 2] = x.data[flat]));
      return result;
    },
  });
});

test('integers move unchanged', () => {
  tidy(() => {
    const x = tensor(Int32Array.of(2 ** 31 - 1, -(2 ** 31), 7, -1), { shape: [2, 2] });
    const y = concat([x.transpose(), x.slice(0, 1, 2)], 0);
    expect(y.dtype).toBe('int32');
    expect([...y.dataSync()]).toEqual([2 ** 31 - 1, 7, -(2 ** 31), -1, 7, -1]);
    expect(y.range).toEqual({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  });
});

test('bad shapes', () => {
  tidy(() => {
    const x = zeros([2, 3]);
    expect(() => reshape(x, [4])).toThrow(
      'Expected a shape of 6 elements for a tensor of shape [2, 3], got [4]',
    );
    expect(() => reshape(x, [-1, -1])).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    expect(() => reshape(x, [-1, 4])).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    expect(() => reshape(zeros([0]), [-1, 0])).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
    expect(() => permute(x, [0, 0])).toThrow('Expected dims to name each of the 2 axes once');
    expect(() => slice(x, 1, 2, 1)).toThrow('Expected end to be a whole number from 2 to 3, got 1');
    expect(() => slice(x, 1, 4)).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
    expect(() => concat([])).toThrow('Expected at least one tensor to join, got none');
    expect(() => concat([x, zeros([3, 3])], 1)).toThrow(
      'Expected tensors[1] to have the shape of tensors[0], [2, 3], but for axis 1, got [3, 3]',
    );
    expect(() => expand(x, [2, 4])).toThrow('can be repeated to');
    expect(() => pad(x, [[1, 1]])).toThrow('one pair for each of the 2 axes, got 1');
    expect(() => zeros([1, 1, 1, 1, 1, 1, 1, 1, 1])).toThrow('at most 8 axes, got 9');
  });
});

test('lists that are none', () => {
  tidy(() => {
    const x = zeros([2, 3]);
    const none = wrong(undefined);
    const refused: (() => unknown)[] = [
      () => permute(x, none),
      () => x.permute(none),
      () => concat(none),
      () => x.concat(none),
      () => pad(x, none),
      () => x.pad(wrong([1, 2])),
      () => x.reshape(none),
      () => x.expand(none),
    ];
    expect(refused.map(codeOf)).toEqual(refused.map(() => 'INVALID_ARGUMENT'));
  });
});
