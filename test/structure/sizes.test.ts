import * as fc from 'fast-check';

import {
  INDEX_NAMES,
  bttSizes,
  divisors,
  finiteTaxonomy,
  nearestDivisorPair,
  nearestFactorization,
  parseTheta,
  planBTT,
  planEinsum,
  primeFactorPair,
  relativePadding,
  roundHalfEven,
  sizesFromTheta,
  type EinsumPlan,
  type EinsumSizes,
} from '../../lib/structure';
import { thetas, widths } from './arbitraries';
import { layerCases, type LayerCase } from './caseMetadata';
import { codeOf, wrong } from '../support/errors';

const dims = (sizes: EinsumSizes): Record<string, number> =>
  Object.fromEntries(INDEX_NAMES.map((name) => [name, sizes[name]]));

const fans = ({ a, b }: EinsumPlan): number[][] => [
  [a.fanIn, a.fanOut],
  [b.fanIn, b.fanOut],
];

describe('the published layers', () => {
  it('are all here', () => {
    const count = (kind: LayerCase['kind']): number => layerCases(kind).length;
    expect([count('linear'), count('rejected'), count('btt_norm'), count('btt_moe')]).toEqual([
      112, 8, 4, 4,
    ]);
  });

  it.each(layerCases('linear'))('%s', (_, layer) => {
    const plan = planEinsum(parseTheta(layer.theta), layer.d_in, layer.d_out, {
      rounding: 'paper',
    });
    expect(dims(plan.sizes)).toEqual(layer.dims);
    expect(fans(plan)).toEqual(layer.core_fans);
    expect(plan.normEps).toBe(layer.norm_eps);
    [plan.a, plan.b].forEach((factor, i) => {
      expect(factor.initStd / layer.init_std[i]).toBeCloseTo(1, 12);
      expect(factor.adamMultiplier / layer.adam_lr_mult[i]).toBeCloseTo(1, 12);
    });
  });

  it.each(layerCases('rejected'))('%s', (_, layer) => {
    const theta = parseTheta(layer.theta);
    const { d_in: dIn, d_out: dOut } = layer;
    expect(() => planEinsum(theta, dIn, dOut, { rounding: 'paper' })).toThrow(
      expect.objectContaining({
        code: 'NOT_FACTORABLE',
        message: expect.stringContaining(`dIn = ${dIn}`),
      }) as Error,
    );
    const sizes = sizesFromTheta(theta, dIn, dOut, { rounding: 'paper', tolerance: Infinity });
    expect(dims(sizes)).toEqual(layer.dims);
    expect(relativePadding(planEinsum(theta, dIn, dOut).sizes)).toEqual({ input: 0, output: 0 });
  });

  it.each([...layerCases('btt_norm'), ...layerCases('btt_moe')])('%s', (_, layer) => {
    const { d_in: dIn, d_out: dOut } = layer;
    const plan =
      layer.kind === 'btt_norm'
        ? planBTT(dIn, dOut, layer.rank, { rounding: 'paper' })
        : planBTT(dIn, dOut, layer.experts, { rounding: 'paper', experts: layer.experts });
    expect(dims(plan.sizes)).toEqual(layer.dims);
    expect(fans(plan)).toEqual(layer.core_fans);
    expect(plan.normEps).toBe(layer.norm_eps);
  });
});

describe('factorisation', () => {
  it('lists divisors', () => {
    expect(divisors(1)).toEqual([1]);
    expect(divisors(36)).toEqual([1, 2, 3, 4, 6, 9, 12, 18, 36]);
    expect(() => divisors(0)).toThrow('positive integer, got 0');
  });

  it.each([
    [768, [24, 32], [16, 48]],
    [160, [10, 16], [8, 20]],
    [1, [1, 1], [1, 1]],
    [97, [1, 97], [1, 97]],
    [4096, [64, 64], [64, 64]],
  ])('splits %d in two', (n, nearest, paper) => {
    expect(nearestDivisorPair(n)).toEqual(nearest);
    expect(primeFactorPair(n)).toEqual(paper);
  });

  it('is exact and no other exact factorisation is nearer', () => {
    fc.assert(
      fc.property(thetas, fc.integer({ min: 1, max: 600 }), ({ alpha, beta, gamma }, n) => {
        const exponents = [alpha, beta, gamma] as const;
        const distance = (factors: readonly number[]): number =>
          factors.reduce((sum, f, i) => sum + (Math.log(f) - exponents[i] * Math.log(n)) ** 2, 0);
        const found = nearestFactorization(n, exponents);
        expect(found[0] * found[1] * found[2]).toBe(n);
        found.forEach((factor, i) => exponents[i] === 0 && expect(factor).toBe(1));
        const allowed = (factor: number, i: number): boolean => exponents[i] !== 0 || factor === 1;
        for (const first of divisors(n)) {
          for (const second of divisors(n / first)) {
            const other = [first, second, n / first / second];
            if (!other.every(allowed)) continue;
            expect(distance(found)).toBeLessThanOrEqual(distance(other) + 1e-8);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('sizesFromTheta', () => {
  it('multiplies exactly to the widths by default, whatever the point', () => {
    fc.assert(
      fc.property(thetas, widths, widths, (theta, dIn, dOut) => {
        const sizes = sizesFromTheta(theta, dIn, dOut);
        expect(sizes.alpha * sizes.beta * sizes.gamma).toBe(dIn);
        expect(sizes.delta * sizes.epsilon * sizes.phi).toBe(dOut);
        expect(sizes.rho).toBeGreaterThanOrEqual(1);
        expect(sizes.rho).toBeLessThanOrEqual(Math.min(dIn, dOut));
      }),
    );
  });

  it("agrees with the paper's rounding where that is exact", () => {
    const theta = parseTheta('(0.5|0.25|0.25|0.25|0.5|0.25|0.25)');
    const paper = sizesFromTheta(theta, 256, 4096, { rounding: 'paper' });
    expect(sizesFromTheta(theta, 256, 4096)).toEqual(paper);
  });

  it('splits ties as a BTT of integer rank does', () => {
    const theta = parseTheta('(0.5|0|0.5|0|0.5|0.5|0)');
    for (const [dIn, dOut] of [
      [768, 160],
      [96, 3072],
      [1000, 1],
    ] as const) {
      expect(sizesFromTheta(theta, dIn, dOut)).toEqual(bttSizes(dIn, dOut, 1));
    }
  });

  it.each([0, -4, 2.5, NaN, Infinity])('refuses a width of %d', (width) => {
    const theta = parseTheta('(0.5|0|0.5|0|0.5|0.5|0)');
    for (const rounding of ['divisors', 'paper'] as const) {
      expect(() => sizesFromTheta(theta, width, 4, { rounding })).toThrow(`integer, got ${width}`);
      expect(() => sizesFromTheta(theta, 4, width, { rounding })).toThrow(`integer, got ${width}`);
    }
    expect(() => bttSizes(4, 4, width)).toThrow(`Expected rank to be a positive integer`);
  });

  it('refuses a rounding that is neither', () => {
    const theta = parseTheta('(0.5|0|0.5|0|0.5|0.5|0)');
    const rounding = wrong('divisor');
    const message = "Expected rounding to be 'divisors' or 'paper', got 'divisor'";
    expect(() => sizesFromTheta(theta, 768, 768, { rounding })).toThrow(message);
    expect(() => bttSizes(768, 768, 1, { rounding })).toThrow(message);
    expect(codeOf(() => bttSizes(768, 768, 1, { rounding: wrong(null) }))).toBe('INVALID_ARGUMENT');
  });

  it('checks the output width too', () => {
    const theta = parseTheta('(1|0|0|0.25|0.5|0.25|0)');
    expect(() => sizesFromTheta(theta, 64, 36, { rounding: 'paper' })).toThrow('dOut = 36, got 24');
  });
});

describe('roundHalfEven', () => {
  it.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [2.4, 2],
    [2.6, 3],
    [7, 7],
  ])('rounds %d to %d', (value, rounded) => expect(roundHalfEven(value)).toBe(rounded));
});

describe('multipliers', () => {
  it('of SGD follow from the fans', () => {
    const { a, b } = planBTT(64, 256, 2);
    expect(a).toMatchObject({ fanIn: 8, fanOut: 32, sgdMultiplier: 32 / 8 / 4 / 2 });
    expect(b).toMatchObject({ fanIn: 16, fanOut: 16, sgdMultiplier: 1 / 4 / 2 });
  });

  it('of experts are those of one slice', () => {
    const slice = planBTT(96, 160, 1);
    const experts = planBTT(96, 160, 8, { experts: 8 });
    expect([experts.a, experts.b]).toEqual([slice.a, slice.b]);
    expect(experts.parameters).toBe(8 * slice.parameters);
    expect(() => planBTT(96, 160, 8, { experts: 3 })).toThrow('multiple of experts = 3');
  });
});

describe('finiteTaxonomy', () => {
  it('counts what a plain loop over the einsum counts', () => {
    const size = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(
        fc.tuple(size, size, size, size, size, size, size),
        ([alpha, beta, gamma, delta, epsilon, phi, rho]) => {
          const dIn = alpha * beta * gamma;
          const dOut = delta * epsilon * phi;
          const sizes = { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho };
          const { macsByOrder, parameters } = finiteTaxonomy(sizes);
          const stage1 = gamma * beta * alpha * phi * delta * rho;
          const stage2 = phi * delta * gamma * beta * rho * epsilon;
          expect(macsByOrder.aFirst).toBe(stage1 + stage2);
          expect(parameters).toBe(
            phi * delta * rho * gamma * alpha + phi * epsilon * rho * gamma * beta,
          );
        },
      ),
    );
  });

  it('predicts the numerical rank of generic factors', () => {
    const power = fc.integer({ min: 0, max: 2 }).map((n) => 2 ** n);
    fc.assert(
      fc.property(
        fc.tuple(power, power, power, power, power, power, power),
        fc.integer(),
        ([alpha, beta, gamma, delta, epsilon, phi, rho], seed) => {
          const dIn = alpha * beta * gamma;
          const dOut = delta * epsilon * phi;
          fc.pre(dIn <= 16 && dOut <= 16);
          const sizes = { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho };
          expect(numericalRank(operator(sizes, generator(seed)))).toBe(finiteTaxonomy(sizes).rank);
        },
      ),
      { numRuns: 100 },
    );
  });
});

/** Seeded values in [−1, 1) (a linear congruential generator). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** The dOut × dIn matrix of random factors, by definition. */
function operator(sizes: EinsumSizes, random: () => number): number[][] {
  const { alpha, beta, gamma, delta, epsilon, phi, rho, dIn, dOut } = sizes;
  const factor = (length: number): number[] => Array.from({ length }, random);
  const a = factor(phi * delta * rho * gamma * alpha);
  const b = factor(phi * epsilon * rho * gamma * beta);
  return Array.from({ length: dOut }, (_, row) =>
    Array.from({ length: dIn }, (_, column) => {
      const [p, e, d] = [
        Math.floor(row / (epsilon * delta)),
        Math.floor(row / delta) % epsilon,
        row % delta,
      ];
      const [g, t, l] = [
        Math.floor(column / (beta * alpha)),
        Math.floor(column / alpha) % beta,
        column % alpha,
      ];
      let sum = 0;
      for (let r = 0; r < rho; ++r) {
        sum +=
          a[(((p * delta + d) * rho + r) * gamma + g) * alpha + l] *
          b[(((p * epsilon + e) * rho + r) * gamma + g) * beta + t];
      }
      return sum;
    }),
  );
}

/** Rank by Gaussian elimination with complete pivoting. */
function numericalRank(matrix: number[][]): number {
  const rows = matrix.map((row) => [...row]);
  const columns = rows[0].length;
  let rank = 0;
  while (rank < rows.length && rank < columns) {
    let [pivotRow, pivotColumn] = [rank, rank];
    for (let i = rank; i < rows.length; ++i) {
      for (let j = rank; j < columns; ++j) {
        if (Math.abs(rows[i][j]) > Math.abs(rows[pivotRow][pivotColumn])) {
          [pivotRow, pivotColumn] = [i, j];
        }
      }
    }
    const pivot = rows[pivotRow][pivotColumn];
    if (Math.abs(pivot) < 1e-11) break;
    [rows[rank], rows[pivotRow]] = [rows[pivotRow], rows[rank]];
    for (const row of rows) {
      [row[rank], row[pivotColumn]] = [row[pivotColumn], row[rank]];
    }
    for (let i = rank + 1; i < rows.length; ++i) {
      const ratio = rows[i][rank] / pivot;
      for (let j = rank; j < columns; ++j) rows[i][j] -= ratio * rows[rank][j];
    }
    ++rank;
  }
  return rank;
}
