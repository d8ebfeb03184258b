import { linear, matmul, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import {
  array,
  at,
  broadcast,
  forEachIndex,
  matrixProduct,
  randomArray,
  relativeError,
  sizeOf,
  zeros as zeroArray,
} from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

function matmulOracle(a: NdArray, b: NdArray): NdArray {
  const left = a.shape.length === 1 ? array([1, ...a.shape], a.data) : a;
  const right = b.shape.length === 1 ? array([...b.shape, 1], b.data) : b;
  const [m, k] = left.shape.slice(-2);
  const n = right.shape[right.shape.length - 1];
  const marker = (x: NdArray): NdArray => zeroArray(x.shape.slice(0, -2));
  const lead = broadcast(marker(left), marker(right), () => 0).shape;
  const result = zeroArray([...lead, m, n]);
  forEachIndex(result.shape, (index, flat) => {
    const [i, j] = index.slice(-2);
    let total = 0;
    for (let l = 0; l < k; l++) {
      total += at(left, [...index.slice(0, -2), i, l]) * at(right, [...index.slice(0, -2), l, j]);
    }
    result.data[flat] = total;
  });
  const shape = [
    ...lead,
    ...(a.shape.length === 1 ? [] : [m]),
    ...(b.shape.length === 1 ? [] : [n]),
  ];
  return array(shape, result.data);
}

describe('matmul', () => {
  test.each<[number[], number[]]>([
    [
      [1, 1],
      [1, 1],
    ],
    [
      [3, 4],
      [4, 5],
    ],
    [
      [17, 9],
      [9, 33],
    ],
    [
      [2, 3, 4],
      [4, 5],
    ],
    [
      [2, 3, 4],
      [1, 4, 5],
    ],
    [
      [3, 4],
      [2, 4, 5],
    ],
    [
      [2, 3, 4],
      [2, 4, 5],
    ],
    [
      [2, 1, 3, 4],
      [5, 4, 2],
    ],
    [
      [2, 3, 2, 4],
      [2, 3, 4, 1],
    ],
    [[4], [4]],
    [[4], [4, 3]],
    [[3, 4], [4]],
    [[2, 3, 4], [4]],
    [[4], [2, 4, 3]],
  ])('%j · %j', (shapeA, shapeB) => {
    checkGradients({
      inputs: [randomArray(shapeA, 31), randomArray(shapeB, 32)],
      op: ([a, b]) => matmul(a, b),
      oracle: ([a, b]) => matmulOracle(a, b),
    });
  });

  test('odd large sizes', () => {
    tidy(() => {
      const a = randomArray([157, 77], 1);
      const b = randomArray([77, 259], 2);
      const c = matmul(tensor(a.data, { shape: a.shape }), tensor(b.data, { shape: b.shape }));
      expect(relativeError(c.dataSync(), matrixProduct(a, b).data)).toBeLessThan(1e-6);
    });
  });

  test('gradients of a tensor used twice add up', () => {
    checkGradients({
      inputs: [randomArray([3, 3], 33)],
      op: ([a]) => matmul(matmul(a, a), a),
      oracle: ([a]) => matrixProduct(matrixProduct(a, a), a),
    });
  });

  test('empty products', () => {
    tidy(() => {
      const a = zeros([0, 3], { requiresGrad: true });
      const b = zeros([3, 4], { requiresGrad: true });
      const c = matmul(a, b);
      expect(c.shape).toEqual([0, 4]);
      c.backward(zeros([0, 4]));
      expect([...(b.grad?.dataSync() ?? [])]).toEqual(new Array(12).fill(0));
      expect([...matmul(zeros([2, 0]), zeros([0, 2])).dataSync()]).toEqual([0, 0, 0, 0]);
    });
  });

  test('an empty batch', () => {
    tidy(() => {
      const a = zeros([2, 3], { requiresGrad: true });
      const b = zeros([0, 3, 4], { requiresGrad: true });
      matmul(a, b).backward(zeros([0, 2, 4]));
      expect([...(a.grad?.dataSync() ?? [])]).toEqual(new Array(6).fill(0));
      expect(b.grad?.shape).toEqual([0, 3, 4]);
    });
  });

  test('bad shapes', () => {
    tidy(() => {
      expect(() => matmul(zeros([2, 3]), zeros([4, 5]))).toThrow('got [2, 3] and [4, 5]');
      expect(() => matmul(zeros([]), zeros([1]))).toThrow(
        expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
      );
      expect(() => matmul(zeros([2, 3, 4]), zeros([3, 4, 5]))).toThrow(
        'Expected the leading axes of a and b to broadcast',
      );
    });
  });
});

describe('linear', () => {
  const oracle = ([x, w, bias]: readonly NdArray[]): NdArray => {
    const [n, k] = w.shape;
    const tokens = sizeOf(x.shape.slice(0, -1));
    const y = zeroArray([...x.shape.slice(0, -1), n]);
    for (let t = 0; t < tokens; t++) {
      for (let j = 0; j < n; j++) {
        let total = (bias as NdArray | undefined)?.data[j] ?? 0;
        for (let i = 0; i < k; i++) total += x.data[t * k + i] * w.data[j * k + i];
        y.data[t * n + j] = total;
      }
    }
    return y;
  };

  test.each([
    [[1], 1, 1],
    [[33], 7, 5],
    [[2, 3], 4, 9],
    [[100], 3, 2],
  ])('%j tokens, %d to %d', (lead, dIn, dOut) => {
    const inputs = [
      randomArray([...lead, dIn], 1),
      randomArray([dOut, dIn], 2),
      randomArray([dOut], 3),
    ];
    checkGradients({ inputs, op: ([x, w, bias]) => linear(x, w, bias), oracle });
    checkGradients({ inputs: inputs.slice(0, 2), op: ([x, w]) => linear(x, w), oracle });
  });

  test('several layers on one input', () => {
    const inputs = [randomArray([5, 4], 1), randomArray([3, 4], 2), randomArray([3, 4], 3)];
    checkGradients({
      inputs,
      op: ([x, v, w]) => linear(x, v).mul(linear(x, w)).add(linear(x, w)),
      oracle: ([x, v, w]) => {
        const [a, b] = [oracle([x, v]), oracle([x, w])];
        return array(
          a.shape,
          a.data.map((value, i) => value * b.data[i] + b.data[i]),
        );
      },
    });
  });

  test('no tokens', () => {
    tidy(() => {
      const x = zeros([2, 0, 4], { requiresGrad: true });
      const w = zeros([3, 4], { requiresGrad: true });
      const bias = zeros([3], { requiresGrad: true });
      const y = linear(x, w, bias);
      expect(y.shape).toEqual([2, 0, 3]);
      y.backward(zeros([2, 0, 3]));
      expect([...(w.grad?.dataSync() ?? [])]).toEqual(new Array(12).fill(0));
      expect([...(bias.grad?.dataSync() ?? [])]).toEqual([0, 0, 0]);
    });
  });

  test('bad shapes', () => {
    tidy(() => {
      expect(() => linear(zeros([2, 3]), zeros([4, 5]))).toThrow(
        'Expected the last axis of x to be in = 5, got shape [2, 3]',
      );
      expect(() => linear(zeros([2, 5]), zeros([4, 5]), zeros([5]))).toThrow(
        'Expected bias to have shape [4] ([out]), got [5]',
      );
      expect(() => linear(zeros([2, 5]), zeros([5]))).toThrow(
        'Expected weight to have shape [out, in], got [5]',
      );
    });
  });
});
