import fc from 'fast-check';
import type { EinsumSizes } from '../../lib/structure';
import { bttMoe, moeRoute, tensor, tidy, zeros } from '../../lib/tensor';
import type { Tensor } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { map, randomArray, randomSource, relativeError } from '../support/arrays';
import { checkGradients, finiteDifferences } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';
import type { EinsumInputs } from './einsumOracle';
import { absolute, einsumGradients, einsumInputs, einsumOracle } from './einsumOracle';

expectMemoryBack();

const sizesOf = (
  alpha: number,
  gamma: number,
  epsilon: number,
  phi: number,
  rho: number,
  dIn: number = alpha * gamma,
  dOut: number = epsilon * phi,
): EinsumSizes => ({ dIn, dOut, alpha, beta: 1, gamma, delta: 1, epsilon, phi, rho });

/** What each slice counts with for each token. */
function gateOf(
  weight: NdArray,
  index: readonly number[],
): (token: number, slice: number) => number {
  const k = weight.shape[weight.shape.length - 1];
  return (token, slice) => {
    for (let j = 0; j < k; j++) {
      if (index[token * k + j] === slice) return weight.data[token * k + j];
    }
    return 0;
  };
}

/** The dense computation of every slice, masked by the choices. */
function oracle(
  [x, a, b, weight, bias]: readonly NdArray[],
  index: readonly number[],
  sizes: EinsumSizes,
): NdArray {
  const gate = gateOf(weight, index);
  return einsumOracle(x, a, b, bias ?? null, sizes, gate);
}

/** k distinct experts for each token. */
function randomChoices(tokens: number, k: number, experts: number, seed: number): number[] {
  const next = randomSource(seed);
  return Array.from({ length: tokens }, () => {
    const all = Array.from({ length: experts }, (_, e) => e);
    return Array.from({ length: k }, () => all.splice(Math.floor(next() * all.length), 1)[0]);
  }).flat();
}

const upload = ({ shape, data }: NdArray, requiresGrad = false): Tensor =>
  tensor(data, { shape, requiresGrad });

test.each<[EinsumSizes, number[], number]>([
  [sizesOf(3, 2, 2, 3, 4), [5], 2],
  [sizesOf(2, 4, 4, 2, 3), [2, 3], 1],
  [sizesOf(4, 3, 2, 3, 3), [4], 3],
  [sizesOf(3, 3, 3, 3, 2, 8, 10), [3], 1],
  [sizesOf(1, 1, 1, 1, 1), [1], 1],
])('gradients: sizes %j, %j tokens, k = %d', (sizes, lead, k) => {
  const tokens = lead.reduce((a, b) => a * b, 1);
  const { x, a, b, bias } = einsumInputs(sizes, lead, 131);
  const weight = randomArray([...lead, k], 132, 0.1, 1);
  const index = randomChoices(tokens, k, sizes.rho, 133);
  checkGradients({
    inputs: [x, a, b, weight, bias],
    op: ([x, a, b, weight, bias]) =>
      bttMoe(
        x,
        a,
        b,
        { index: tensor(Int32Array.from(index), { shape: weight.shape }), weight },
        bias,
        sizes,
      ),
    oracle: (inputs) => oracle(inputs, index, sizes),
  });
});

/** Output and gradients for random inputs and choices against the dense masked computation. */
function compareWithDense(sizes: EinsumSizes, tokens: number, k: number, seed: number): void {
  const { rho } = sizes;
  const inputs = einsumInputs(sizes, [tokens], seed);
  const weight = randomArray([tokens, k], seed + 7, 0.1, 1);
  const index = randomChoices(tokens, k, rho, seed + 8);
  const dy = randomArray([tokens, sizes.dOut], seed + 9);
  const gate = gateOf(weight, index);
  // Terms may cancel, so errors are measured against sums of absolute values.
  const large = absolute(inputs);
  const all = ({ x, a, b, bias }: EinsumInputs) => [x, a, b, weight, bias];
  const expected = oracle(all(inputs), index, sizes);
  const scale = oracle(all(large), index, sizes);
  const gradients = einsumGradients(inputs, dy, sizes, gate);
  const scales = einsumGradients(large, map(dy, Math.abs), sizes, gate);
  const chosen = (dgate: Float64Array) =>
    index.map((expert, pair) => dgate[Math.floor(pair / k) * rho + expert]);
  tidy(() => {
    const tensors = all(inputs).map((each) => upload(each, true));
    const [x, a, b, w, bias] = tensors;
    const choices = {
      index: tensor(Int32Array.from(index), { shape: [tokens, k] }),
      weight: w,
    };
    const y = bttMoe(x, a, b, choices, bias, sizes);
    expect(y.shape).toEqual([tokens, sizes.dOut]);
    expect(relativeError(y.dataSync(), expected.data, scale.data)).toBeLessThan(2e-6);
    y.backward(upload(dy));
    const wanted = [
      gradients.dx,
      gradients.da,
      gradients.db,
      chosen(gradients.dgate),
      gradients.dbias,
    ];
    const bounds = [scales.dx, scales.da, scales.db, chosen(scales.dgate), scales.dbias];
    tensors.forEach((each, i) => {
      const error = relativeError(each.grad?.dataSync() ?? [], wanted[i], bounds[i]);
      expect(error).toBeLessThan(2e-6);
    });
  });
}

const size = fc.integer({ min: 1, max: 6 });
test('random sizes and choices agree with the dense masked computation', () => {
  fc.assert(
    fc.property(
      fc.tuple(size, size, size, size, size),
      fc.integer({ min: 1, max: 6 }),
      fc.constantFrom(0, 1, 2, 9, 33),
      fc.integer({ min: -2, max: 2 }),
      fc.integer({ min: -2, max: 2 }),
      fc.nat(1e6),
      ([alpha, gamma, epsilon, phi, rho], most, tokens, padIn, padOut, seed) => {
        const dIn = Math.max(1, alpha * gamma + padIn);
        const dOut = Math.max(1, epsilon * phi + padOut);
        const sizes = sizesOf(alpha, gamma, epsilon, phi, rho, dIn, dOut);
        compareWithDense(sizes, tokens, Math.min(most, rho), seed);
      },
    ),
  );
});

test.each<[EinsumSizes, number, number]>([
  [sizesOf(18, 17, 21, 19, 5), 70, 2],
  [sizesOf(3, 35, 40, 2, 9, 100, 90), 150, 3],
  [sizesOf(150, 2, 3, 5, 2), 40, 1],
  [sizesOf(2, 3, 1100, 1, 2), 17, 2], // no tile of the CUDA backend holds so many epsilons
])('sizes beyond a tile: %j, %d tokens, k = %d', (sizes, tokens, k) => {
  compareWithDense(sizes, tokens, k, 170);
});

test('33 and 100 tokens, gradients too', () => {
  const sizes = sizesOf(2, 2, 2, 2, 4);
  for (const tokens of [33, 100]) {
    const { x, a, b } = einsumInputs(sizes, [tokens], 140);
    const weight = randomArray([tokens, 2], 141, 0.1, 1);
    const index = randomChoices(tokens, 2, 4, 142);
    const dy = randomArray([tokens, sizes.dOut], 143);
    tidy(() => {
      const tensors = [x, a, b, weight].map((each) => upload(each, true));
      const choices = {
        index: tensor(Int32Array.from(index), { shape: [tokens, 2] }),
        weight: tensors[3],
      };
      bttMoe(tensors[0], tensors[1], tensors[2], choices, null, sizes).backward(upload(dy));
      for (const which of [1, 2]) {
        const numeric = finiteDifferences(
          (inputs) => oracle(inputs, index, sizes),
          [x, a, b, weight],
          which,
          dy.data,
        );
        expect(relativeError(tensors[which].grad?.dataSync() ?? [], numeric)).toBeLessThan(2e-5);
      }
    });
  }
});

test('an expert nobody chose gets a gradient of exactly 0; one may take all', () => {
  tidy(() => {
    const sizes = sizesOf(3, 2, 2, 3, 4);
    const { x, a, b } = einsumInputs(sizes, [20], 150);
    const [left, right] = [upload(a, true), upload(b, true)];
    const choices = {
      index: tensor(new Int32Array(20).fill(2), { shape: [20, 1] }),
      weight: upload(randomArray([20, 1], 151, 0.1, 1)),
    };
    bttMoe(upload(x), left, right, choices, null, sizes).sum().backward();
    for (const factor of [left, right]) {
      const [phi, other, experts, gamma, last] = factor.shape;
      const gradient = factor.grad?.dataSync() ?? new Float32Array();
      gradient.forEach((value, flat) => {
        const expert = Math.floor(flat / (gamma * last)) % experts;
        if (expert === 2) expect(value).not.toBe(0);
        else expect(Object.is(value, 0) || Object.is(value, -0)).toBe(true);
      });
      expect(gradient).toHaveLength(phi * other * experts * gamma * last);
    }
  });
});

test('with routing: gradients reach the gate', () => {
  const sizes = sizesOf(2, 3, 2, 3, 4);
  const { x, a, b } = einsumInputs(sizes, [6], 160);
  const logits = randomArray([6, 4], 161, -2, 2);
  const index = Array.from({ length: 6 }, (_, t) =>
    [0, 1, 2, 3].sort((i, j) => logits.data[t * 4 + j] - logits.data[t * 4 + i]).slice(0, 2),
  ).flat();
  checkGradients({
    inputs: [x, a, b, logits],
    op: ([x, a, b, logits]) =>
      bttMoe(x, a, b, moeRoute(logits, 2, { weightEpsilon: 1e-6 }), null, sizes),
    oracle: ([x, a, b, logits]) => {
      const weight = new Float64Array(12);
      for (let t = 0; t < 6; t++) {
        const [p, q] = [0, 1].map((j) => logits.data[t * 4 + index[t * 2 + j]]);
        weight[t * 2] = 1 / (1 + Math.exp(q - p)) + 1e-6;
        weight[t * 2 + 1] = 1 / (1 + Math.exp(p - q)) + 1e-6;
      }
      return oracle([x, a, b, { shape: [6, 2], data: weight }], index, sizes);
    },
  });
});

test('no tokens', () => {
  tidy(() => {
    const sizes = sizesOf(3, 2, 2, 3, 4);
    const a = zeros([3, 1, 4, 2, 3], { requiresGrad: true });
    const b = zeros([3, 2, 4, 2, 1], { requiresGrad: true });
    const y = bttMoe(zeros([0, 6]), a, b, moeRoute(zeros([0, 4]), 2), null, sizes);
    expect(y.shape).toEqual([0, 6]);
    y.backward(zeros([0, 6]));
    expect([...(a.grad?.dataSync() ?? [1])].every((value) => value === 0)).toBe(true);
  });
});

test('bad choices', () => {
  tidy(() => {
    const sizes = sizesOf(3, 2, 2, 3, 4);
    const [x, a, b] = [zeros([2, 6]), zeros([3, 1, 4, 2, 3]), zeros([3, 2, 4, 2, 1])];
    const choices = (values: number[], k: number) => ({
      index: tensor(Int32Array.from(values), { shape: [values.length / k, k] }),
      weight: zeros([values.length / k, k]),
    });
    expect(() => bttMoe(x, a, b, choices([0, 4], 1), null, sizes)).toThrow(
      'Expected the values of index to be from 0 to 3, got 4',
    );
    expect(() => bttMoe(x, a, b, choices([0, 1, 2, 2], 2), null, sizes)).toThrow(
      'Expected each row of index to name 2 different experts, got [2, 2]',
    );
    expect(() => bttMoe(x, a, b, choices([0, 1, 2], 1), null, sizes)).toThrow('[2, k]');
    expect(() => bttMoe(x, a, b, choices([0, 1, 2, 3, 0, 0, 0, 0, 0, 0], 5), null, sizes)).toThrow(
      'Expected k to be at most 4 (the number of experts), got 5',
    );
    expect(() => bttMoe(x, a, b, choices([0, 1], 1), null, { ...sizes, beta: 2 })).toThrow(
      'Expected the sizes beta and delta of a BTT to be 1, got 2 and 1',
    );
  });
});
