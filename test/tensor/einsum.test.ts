import fc from 'fast-check';
import type { EinsumSizes } from '../../lib/structure';
import { einsum2, tensor, tidy, zeros } from '../../lib/tensor';
import type { Tensor } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { map, randomArray, relativeError } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';
import { absolute, einsumGradients, einsumInputs, einsumOracle } from './einsumOracle';

expectMemoryBack();

const upload = ({ shape, data }: NdArray, requiresGrad = false): Tensor =>
  tensor(data, { shape, requiresGrad });

const sizesOf = (
  alpha: number,
  beta: number,
  gamma: number,
  delta: number,
  epsilon: number,
  phi: number,
  rho: number,
  dIn: number = alpha * beta * gamma,
  dOut: number = delta * epsilon * phi,
): EinsumSizes => ({ dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho });

test.each<[string, EinsumSizes, number[]]>([
  ['BTT', sizesOf(3, 1, 2, 1, 4, 2, 2), [3]],
  ['Monarch', sizesOf(4, 1, 4, 1, 4, 4, 1), [2, 2]],
  ['low rank', sizesOf(7, 1, 1, 1, 5, 1, 3), [5]],
  ['Kronecker', sizesOf(3, 4, 1, 2, 3, 1, 1), [4]],
  ['tensor-train', sizesOf(2, 3, 1, 3, 2, 1, 3), [4]],
  ['generic', sizesOf(2, 3, 2, 2, 2, 3, 2), [3]],
  ['mirrored', sizesOf(1, 5, 2, 4, 1, 2, 2), [3]],
  ['padded', sizesOf(3, 1, 3, 1, 3, 3, 2, 8, 11), [3]],
  ['truncated', sizesOf(3, 2, 2, 2, 3, 2, 1, 14, 9), [3]],
  ['one of everything', sizesOf(1, 1, 1, 1, 1, 1, 1), [1]],
])('gradients: %s', (_name, sizes, lead) => {
  const { x, a, b, bias } = einsumInputs(sizes, lead, 121);
  checkGradients({
    inputs: [x, a, b, bias],
    op: ([x, a, b, bias]) => einsum2(x, a, b, bias, sizes),
    oracle: ([x, a, b, bias]) => einsumOracle(x, a, b, bias, sizes),
  });
});

const size = fc.integer({ min: 1, max: 6 });
const anySizes = fc
  .tuple(
    size,
    size,
    size,
    size,
    size,
    size,
    size,
    fc.integer({ min: -3, max: 3 }),
    fc.integer({ min: -3, max: 3 }),
  )
  .map(([alpha, beta, gamma, delta, epsilon, phi, rho, padIn, padOut]) =>
    sizesOf(
      alpha,
      beta,
      gamma,
      delta,
      epsilon,
      phi,
      rho,
      Math.max(1, alpha * beta * gamma + padIn),
      Math.max(1, delta * epsilon * phi + padOut),
    ),
  );

test('random sizes and token counts agree with the plain loop', () => {
  fc.assert(
    fc.property(anySizes, fc.constantFrom(1, 2, 5, 13), fc.nat(1e6), (sizes, tokens, seed) => {
      const inputs = einsumInputs(sizes, [tokens], seed);
      const expected = einsumOracle(inputs.x, inputs.a, inputs.b, inputs.bias, sizes);
      const dy = randomArray([tokens, sizes.dOut], seed + 9);
      const gradients = einsumGradients(inputs, dy, sizes);
      // Terms may cancel, so errors are measured against sums of absolute values.
      const large = absolute(inputs);
      const scale = einsumOracle(large.x, large.a, large.b, large.bias, sizes);
      const scales = einsumGradients(large, map(dy, Math.abs), sizes);
      tidy(() => {
        const [x, a, b] = [inputs.x, inputs.a, inputs.b].map((each) => upload(each, true));
        const bias = upload(inputs.bias, true);
        const y = einsum2(x, a, b, bias, sizes);
        expect(relativeError(y.dataSync(), expected.data, scale.data)).toBeLessThan(2e-6);
        y.backward(upload(dy));
        expect(relativeError(x.grad?.dataSync() ?? [], gradients.dx, scales.dx)).toBeLessThan(2e-6);
        expect(relativeError(a.grad?.dataSync() ?? [], gradients.da, scales.da)).toBeLessThan(2e-6);
        expect(relativeError(b.grad?.dataSync() ?? [], gradients.db, scales.db)).toBeLessThan(2e-6);
        const { dbias } = gradients;
        expect(relativeError(bias.grad?.dataSync() ?? [], dbias, scales.dbias)).toBeLessThan(2e-6);
      });
    }),
  );
});

test('padding and truncation: outputs beyond the layer are 0, inputs beyond it get gradient 0', () => {
  tidy(() => {
    const sizes = sizesOf(2, 1, 2, 1, 2, 2, 1, 6, 7);
    const { x, a, b, bias } = einsumInputs(sizes, [2], 5);
    const input = upload(x, true);
    const y = einsum2(input, upload(a), upload(b), upload(bias), sizes);
    const values = y.dataSync();
    expect([...values.slice(4, 7), ...values.slice(11, 14)]).toEqual([0, 0, 0, 0, 0, 0]);
    y.sum().backward();
    const gradient = input.grad?.dataSync() ?? [];
    expect([gradient[4], gradient[5], gradient[10], gradient[11]]).toEqual([0, 0, 0, 0]);
  });
});

test.each([0, 1, 33, 100])('%d tokens at usual sizes', (tokens) => {
  tidy(() => {
    for (const sizes of [sizesOf(16, 1, 8, 1, 16, 8, 2), sizesOf(4, 2, 8, 2, 8, 4, 3, 60, 66)]) {
      const inputs = einsumInputs(sizes, [tokens], 7);
      const expected = einsumOracle(inputs.x, inputs.a, inputs.b, null, sizes);
      const dy = randomArray([tokens, sizes.dOut], 8);
      const gradients = einsumGradients(inputs, dy, sizes);
      const [x, a, b] = [inputs.x, inputs.a, inputs.b].map((each) => upload(each, true));
      const y = einsum2(x, a, b, null, sizes);
      expect(y.shape).toEqual([tokens, sizes.dOut]);
      expect(relativeError(y.dataSync(), expected.data)).toBeLessThan(1e-5);
      y.backward(upload(dy));
      expect(relativeError(x.grad?.dataSync() ?? [], gradients.dx)).toBeLessThan(1e-5);
      expect(relativeError(a.grad?.dataSync() ?? [], gradients.da)).toBeLessThan(1e-5);
      expect(relativeError(b.grad?.dataSync() ?? [], gradients.db)).toBeLessThan(1e-5);
    }
  });
});

test.each<[string, EinsumSizes]>([
  ['BTT of 45 and 23', sizesOf(45, 1, 7, 1, 23, 11, 2)],
  ['BTT of 9 and 86', sizesOf(9, 1, 12, 1, 86, 4, 3, 110, 340)],
  ['a wide output', sizesOf(20, 1, 3, 1, 300, 2, 1)],
  ['a high rank', sizesOf(8, 1, 4, 1, 8, 4, 40)],
  ['Kronecker', sizesOf(12, 13, 1, 21, 17, 1, 1)],
  ['mirrored', sizesOf(1, 45, 6, 33, 1, 7, 2)],
])('sizes that are no multiple of a tile: %s', (_name, sizes) => {
  tidy(() => {
    const tokens = 19;
    const inputs = einsumInputs(sizes, [tokens], 17);
    const expected = einsumOracle(inputs.x, inputs.a, inputs.b, inputs.bias, sizes);
    const dy = randomArray([tokens, sizes.dOut], 18);
    const gradients = einsumGradients(inputs, dy, sizes);
    const [x, a, b, bias] = [inputs.x, inputs.a, inputs.b, inputs.bias].map((each) =>
      upload(each, true),
    );
    const y = einsum2(x, a, b, bias, sizes);
    expect(relativeError(y.dataSync(), expected.data)).toBeLessThan(1e-5);
    y.backward(upload(dy));
    expect(relativeError(x.grad?.dataSync() ?? [], gradients.dx)).toBeLessThan(1e-5);
    expect(relativeError(a.grad?.dataSync() ?? [], gradients.da)).toBeLessThan(1e-5);
    expect(relativeError(b.grad?.dataSync() ?? [], gradients.db)).toBeLessThan(1e-5);
    expect(relativeError(bias.grad?.dataSync() ?? [], gradients.dbias)).toBeLessThan(1e-5);
  });
});

test('only the gradients asked for are computed', () => {
  const sizes = sizesOf(2, 2, 2, 2, 2, 2, 2);
  const arrays = Object.values(einsumInputs(sizes, [3], 9)) as NdArray[];
  tidy(() => {
    const full = arrays.map((each) => upload(each, true));
    einsum2(full[0], full[1], full[2], full[3], sizes).sum().backward();
    arrays.forEach((_, which) => {
      const some = arrays.map((each, i) => upload(each, i === which));
      einsum2(some[0], some[1], some[2], some[3], sizes).sum().backward();
      some.forEach((each, i) => {
        if (i === which) expect(each.grad?.dataSync()).toEqual(full[i].grad?.dataSync());
        else expect(each.grad).toBeNull();
      });
    });
  });
});

test('bad shapes', () => {
  tidy(() => {
    const sizes = sizesOf(2, 1, 3, 1, 2, 3, 2);
    const [x, a, b] = [zeros([4, 6]), zeros([3, 1, 2, 3, 2]), zeros([3, 2, 2, 3, 1])];
    expect(() => einsum2(zeros([4, 5]), a, b, null, sizes)).toThrow(
      'Expected the last axis of x to be dIn = 6, got shape [4, 5]',
    );
    expect(() => einsum2(x, b, b, null, sizes)).toThrow(
      'Expected a to have shape [3, 1, 2, 3, 2] ([phi, delta, rho, gamma, alpha]), got [3, 2, 2, 3, 1]',
    );
    expect(() => einsum2(x, a, b, zeros([5]), sizes)).toThrow('Expected bias to have shape [6]');
    expect(() => einsum2(x, a, b, null, { ...sizes, rho: 0 })).toThrow(
      'Expected rho to be a whole number of at least 1, got 0',
    );
  });
});
