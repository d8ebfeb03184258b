import type { EinsumSizes } from '../../lib/structure';
import type { Compute, Tensor } from '../../lib/tensor';
import {
  attention,
  autocast,
  bttMoe,
  defaultDevice,
  einsum2,
  groupedLinear,
  linear,
  matmul,
  tensor,
  tidy,
} from '../../lib/tensor';
import { randomArray, randomSource, relativeError } from '../support/arrays';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

/** A product of several inputs, each of a shape. */
interface Product {
  name: string;
  shapes: readonly (readonly number[])[];
  run: (inputs: readonly Tensor[]) => Tensor;
}

const TOKENS = 70;
const btt: EinsumSizes = {
  dIn: 45,
  dOut: 44,
  alpha: 9,
  beta: 1,
  gamma: 5,
  delta: 1,
  epsilon: 11,
  phi: 4,
  rho: 5,
};
const generic: EinsumSizes = {
  dIn: 60,
  dOut: 70,
  alpha: 5,
  beta: 3,
  gamma: 4,
  delta: 2,
  epsilon: 7,
  phi: 5,
  rho: 3,
};
const factors = ({ dIn, alpha, beta, gamma, delta, epsilon, phi, rho }: EinsumSizes) => [
  [TOKENS, dIn],
  [phi, delta, rho, gamma, alpha],
  [phi, epsilon, rho, gamma, beta],
  [phi * epsilon * delta],
];
const next = randomSource(5);
const chosen = Array.from({ length: TOKENS }, () => {
  const first = Math.floor(next() * btt.rho);
  return [first, (first + 1 + Math.floor(next() * (btt.rho - 1))) % btt.rho];
}).flat();

const products: Product[] = [
  {
    name: 'matmul',
    shapes: [
      [3, 37, 61],
      [3, 61, 29],
    ],
    run: ([a, b]) => matmul(a, b),
  },
  { name: 'linear', shapes: [[TOKENS, 130], [67, 130], [67]], run: ([x, w, b]) => linear(x, w, b) },
  { name: 'BTT', shapes: factors(btt), run: ([x, a, b, c]) => einsum2(x, a, b, c, btt) },
  { name: 'einsum', shapes: factors(generic), run: ([x, a, b, c]) => einsum2(x, a, b, c, generic) },
  {
    name: 'BTT-MoE',
    shapes: [...factors(btt), [TOKENS, 2]],
    run: ([x, a, b, c, weight]) => {
      const index = tensor(chosen, { shape: [TOKENS, 2], dtype: 'int32' });
      return bttMoe(x, a, b, { index, weight }, c, btt);
    },
  },
  {
    name: 'groupedLinear',
    shapes: [
      [TOKENS, 33],
      [4, 19, 33],
      [4, 19],
    ],
    run: ([x, w, b]) => groupedLinear(x, w, b, tensor([0, 20, 20, 51, TOKENS], { dtype: 'int32' })),
  },
  {
    name: 'attention',
    shapes: [
      [2, 75, 2, 20],
      [2, 75, 2, 20],
      [2, 75, 2, 20],
    ],
    run: ([q, k, v]) => attention(q, k, v, { causal: true }),
  },
];

/** The result of a product and the gradients of its inputs, one after another. */
function resultsOf({ shapes, run }: Product, compute: Compute): Float32Array[] {
  return tidy(() => {
    const inputs = shapes.map((shape, i) =>
      tensor(randomArray(shape, 100 + i).data, { shape: [...shape], requiresGrad: true }),
    );
    const y = autocast(compute, () => run(inputs));
    const dy = tensor(randomArray(y.shape, 99).data, { shape: [...y.shape] });
    // Outside autocast: backward computes as the forward did.
    y.mul(dy).sum().backward();
    return [y, ...inputs.map(({ grad }) => grad!)].map((each) => each.dataSync() as Float32Array);
  });
}

// A product of two numbers rounded to a mantissa of 8 (bfloat16) or 11 bits (tf32) is off by at most 2^-8 or 2^-11
// of itself; errors of a sum average out. Up to three roundings follow one another: two stages and a gradient.
const TOLERANCE = { tf32: 3 * 2 ** -11, bfloat16: 3 * 2 ** -8 };

const rounded = (['tf32', 'bfloat16'] as const).filter((compute) => {
  try {
    autocast(compute, () => null);
    return true;
  } catch {
    return false;
  }
});

if (rounded.length === 0) {
  test('a device that computes in float32 only says so', () => {
    const refused = {
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('bfloat16') as string,
    };
    expect(() => autocast('bfloat16', () => null)).toThrow(expect.objectContaining(refused));
    expect(defaultDevice().compute).toBe('float32');
  });
} else {
  describe.each(rounded)('%s', (compute) => {
    test.each(products)('$name agrees with float32, and is not float32', (product) => {
      const exact = resultsOf(product, 'float32');
      const results = resultsOf(product, compute);
      results.forEach((result, i) => {
        expect(relativeError(result, exact[i])).toBeLessThan(TOLERANCE[compute]);
      });
      expect(relativeError(results[0], exact[0])).toBeGreaterThan(TOLERANCE[compute] / 1000);
    });
  });
}

test('autocast puts back what was before, whatever happens', () => {
  const device = defaultDevice();
  expect(() =>
    autocast('float32', () => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(device.compute).toBe('float32');
  expect(() => autocast('float32', () => Promise.resolve())).toThrow('promise');
});
