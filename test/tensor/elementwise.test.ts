import type { Operand } from '../../lib/tensor';
import {
  abs,
  add,
  div,
  equal,
  exp,
  gelu,
  greater,
  log,
  maximum,
  minimum,
  mul,
  neg,
  reciprocal,
  relu,
  sigmoid,
  sqrt,
  square,
  sub,
  tanh,
  tensor,
  tidy,
} from '../../lib/tensor';
import type { Tensor } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { broadcast, map, randomArray } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

/** Error function by its series and continued fraction, to 1e-15. */
function erf(x: number): number {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  let term = z;
  let total = z;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total) && n < 400; n++) {
    term *= (-z * z) / n;
    total += term / (2 * n + 1);
  }
  return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * total;
}

const geluErf = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
const geluTanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const unaries: [string, (x: Tensor) => Tensor, (x: number) => number, number, number][] = [
  ['neg', neg, (x) => -x, -3, 3],
  ['exp', exp, Math.exp, -3, 3],
  ['log', log, Math.log, 0.1, 5],
  ['sqrt', sqrt, Math.sqrt, 0.1, 5],
  ['square', square, (x) => x * x, -3, 3],
  ['abs', abs, Math.abs, -3, 3],
  ['relu', relu, (x) => Math.max(x, 0), -3, 3],
  ['gelu', (x) => gelu(x), geluErf, -4, 4],
  ['gelu tanh', (x) => gelu(x, { approximate: 'tanh' }), geluTanh, -4, 4],
  ['tanh', tanh, Math.tanh, -4, 4],
  ['sigmoid', sigmoid, (x) => 1 / (1 + Math.exp(-x)), -6, 6],
  ['reciprocal', reciprocal, (x) => 1 / x, 0.2, 4],
  ['add 2', (x) => add(x, 2), (x) => x + 2, -3, 3],
  ['2 + x', (x) => add(2, x), (x) => x + 2, -3, 3],
  ['x - 2', (x) => sub(x, 2), (x) => x - 2, -3, 3],
  ['2 - x', (x) => sub(2, x), (x) => 2 - x, -3, 3],
  ['mul -1.5', (x) => mul(x, -1.5), (x) => -1.5 * x, -3, 3],
  ['1.5 x', (x) => mul(1.5, x), (x) => 1.5 * x, -3, 3],
  ['x / 3', (x) => div(x, 3), (x) => x / 3, -3, 3],
  ['3 / x', (x) => div(3, x), (x) => 3 / x, 0.3, 3],
  ['maximum 0.5', (x) => maximum(x, 0.5), (x) => Math.max(x, 0.5), -3, 3],
  ['minimum 0.5', (x) => minimum(0.5, x), (x) => Math.min(x, 0.5), -3, 3],
];

describe.each(unaries)('%s', (_name, op, f, low, high) => {
  test.each([[[1]], [[7]], [[3, 5]], [[2, 3, 17]], [[129]]])('shape %j', (shape) => {
    checkGradients({
      inputs: [randomArray(shape, 11, low, high)],
      op: ([x]) => op(x),
      oracle: ([x]) => map(x, f),
      tolerance: 1e-5,
    });
  });

  test('nothing', () => {
    tidy(() => {
      const x = tensor([], { shape: [0, 3], requiresGrad: true });
      const y = op(x);
      expect(y.shape).toEqual([0, 3]);
      y.backward(tensor([], { shape: [0, 3] }));
      expect(x.grad?.shape).toEqual([0, 3]);
    });
  });
});

const binaries: [string, (a: Operand, b: Operand) => Tensor, (x: number, y: number) => number][] = [
  ['add', add, (x, y) => x + y],
  ['sub', sub, (x, y) => x - y],
  ['mul', mul, (x, y) => x * y],
  ['div', div, (x, y) => x / y],
  ['maximum', maximum, Math.max],
  ['minimum', minimum, Math.min],
];

const broadcasts: [number[], number[]][] = [
  [[5], [5]],
  [
    [3, 4],
    [3, 4],
  ],
  [[3, 4], [4]],
  [[4], [3, 4]],
  [
    [3, 1],
    [1, 5],
  ],
  [
    [2, 3, 5],
    [3, 1],
  ],
  [
    [2, 1, 5],
    [3, 1],
  ],
  [[1], [2, 3]],
  [[], [2, 3]],
  [
    [2, 1, 3, 1],
    [5, 1, 2],
  ],
];

describe.each(binaries)('%s', (_name, op, f) => {
  test.each(broadcasts)('shapes %j and %j', (shapeA, shapeB) => {
    checkGradients({
      inputs: [randomArray(shapeA, 1, 0.5, 3), randomArray(shapeB, 2, 0.5, 3)],
      op: ([a, b]) => op(a, b),
      oracle: ([a, b]: readonly NdArray[]) => broadcast(a, b, f),
      tolerance: 1e-6,
    });
  });

  test('an operand with itself', () => {
    checkGradients({
      inputs: [randomArray([3, 3], 5, 0.5, 2)],
      op: ([a]) => op(a, a.mul(2)),
      oracle: ([a]) => map(a, (x) => f(x, 2 * x)),
      tolerance: 1e-6,
    });
  });
});

test('equal operands share the gradient of maximum and minimum', () => {
  tidy(() => {
    for (const op of [maximum, minimum]) {
      const a = tensor([1, 2], { requiresGrad: true });
      const b = tensor([1, 2], { requiresGrad: true });
      op(a, b).sum().backward();
      expect([...(a.grad?.dataSync() ?? [])]).toEqual([0.5, 0.5]);
      expect([...(b.grad?.dataSync() ?? [])]).toEqual([0.5, 0.5]);
    }
  });
});

test('comparisons', () => {
  tidy(() => {
    const a = tensor([1, 2, 3]);
    expect([...greater(a, 2).dataSync()]).toEqual([0, 0, 1]);
    expect([...equal(a, tensor([1, 0, 3])).dataSync()]).toEqual([1, 0, 1]);
    expect(greater(tensor([1], { requiresGrad: true }), 0).requiresGrad).toBe(false);
  });
});

test('bad operands', () => {
  tidy(() => {
    const a = tensor([1, 2, 3]);
    expect(() => add(a, tensor([1, 2]))).toThrow(
      'Expected a and b to have shapes that broadcast, got [3] and [2]',
    );
    expect(() => add(1, 2)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => add(a, tensor(Int32Array.of(1)))).toThrow(
      'Expected b to be of dtype float32, got int32',
    );
    expect(() => exp([1] as unknown as Tensor)).toThrow('Expected x to be a Tensor, got an array');
    expect(() => gelu(a, { approximate: 'erf' as 'none' })).toThrow("got 'erf'");
  });
});
