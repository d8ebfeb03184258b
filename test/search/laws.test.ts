import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import * as fc from 'fast-check';

import {
  computeFor,
  computeMultiplier,
  efficientFrontier,
  fitPowerLaw,
  fitPowerLawWithOffset,
  lossAt,
  type LawPoint,
  type ScalingLaw,
} from '../../lib/search';
import { checkLaws, type LawsCase } from '../reference/laws';

const laws = JSON.parse(
  readFileSync(join(__dirname, '../reference/cases/laws.json'), 'utf8'),
) as LawsCase;

const law = (exponent: number, constant: number, irreducibleLoss = 0): ScalingLaw => ({
  exponent,
  constant,
  irreducibleLoss,
});
const computes = Array.from({ length: 25 }, (_, i) => 10 ** (12 + i / 4));
const along = (l: ScalingLaw): LawPoint[] =>
  computes.map((compute) => ({ compute, loss: lossAt(l, compute) }));

describe('the published taxonomy and fits', () => {
  it('are reproduced', () => {
    const { worstRelativeError, failures } = checkLaws(laws);
    expect(failures).toEqual([]);
    expect(worstRelativeError).toBeLessThan(1e-10);
  });

  it('are told apart from wrong ones', () => {
    const [fit, ...rest] = laws.fits;
    const wrong = { ...laws, fits: [{ ...fit, exponent: fit.exponent * 1.01 }, ...rest] };
    expect(checkLaws(wrong).failures).toHaveLength(1);
    const missing = { ...laws, fits: [{ ...fit, frontier: fit.frontier.slice(1) }] };
    expect(checkLaws(missing).failures).toHaveLength(1);
    const row = { theta: [1, 0, 0, 0, 1, 0, 0.5], redundant: false, degenerate: false };
    expect(checkLaws({ ...laws, taxonomy: [row] }).failures).toHaveLength(3);
  });
});

describe('efficientFrontier', () => {
  it('takes as many points as long runs log', () => {
    const points = Array.from({ length: 300_000 }, (_, i) => ({
      compute: 1e12 * (i + 1),
      loss: 2,
    }));
    const last = { compute: 1e18, loss: 1 };
    expect(efficientFrontier([...points, last])).toEqual([points[0], last]);
  });

  it('keeps points of a line and drops those far above it', () => {
    const line = along(law(0.1, 3));
    const above = line.map(({ compute, loss }) => ({ compute: compute * 1.1, loss: loss * 1.1 }));
    expect(efficientFrontier([...above, ...line])).toEqual(line);
  });

  it('has falling loss against the point before', () => {
    // On a grid, so that which point is lower and what lies on the hull does not hang on a last bit.
    const point = fc.record({
      compute: fc.integer({ min: 0, max: 60 }).map((k) => 2 ** k),
      loss: fc.integer({ min: 1, max: 1000 }).map((k) => k / 100),
    });
    fc.assert(
      fc.property(fc.array(point, { minLength: 1, maxLength: 40 }), (points) => {
        const frontier = efficientFrontier(points, { tolerance: 0 });
        expect(frontier.length).toBeGreaterThan(0);
        frontier.slice(1).forEach((p, i) => {
          expect(p.compute).toBeGreaterThanOrEqual(frontier[i].compute);
          expect(p.loss).toBeLessThan(frontier[i].loss);
        });
        const best = Math.min(...points.map(({ loss }) => loss));
        expect(frontier.some(({ loss }) => loss === best)).toBe(true);
      }),
    );
  });

  it('orders points that only their last bit tells apart', () => {
    const next = (value: number): number => value * (1 + Number.EPSILON);
    const low = { compute: 1, loss: 0.1 };
    const middle = { compute: next(1), loss: next(0.1) };
    const high = { compute: next(1), loss: next(next(0.1)) };
    expect(efficientFrontier([high, low, middle])).toEqual([low]);
    expect(efficientFrontier([high, middle, { ...low, compute: 2 }])[0]).toEqual(middle);
  });

  it('is not pulled up by a run that gets worse, and leaves diverged points out', () => {
    const line = along(law(0.1, 3));
    const worse = { compute: computes.at(-1)! * 1.001, loss: line.at(-1)!.loss * 1.9 };
    const diverged = { compute: 1e12, loss: NaN };
    expect(efficientFrontier([diverged, worse, ...line])).toEqual(line);
  });

  it('of nothing is nothing', () => expect(efficientFrontier([])).toEqual([]));

  it('refuses values without a logarithm', () => {
    const refused = (point: LawPoint) => () => efficientFrontier([point]);
    expect(refused({ compute: 0, loss: 1 })).toThrow('positive and finite, got 0');
    expect(refused({ compute: 1, loss: -2 })).toThrow('positive, got -2');
  });
});

describe('fits', () => {
  it('recover a power law', () => {
    const fit = fitPowerLaw(along(law(0.17, 5)));
    expect(fit.exponent).toBeCloseTo(0.17, 12);
    expect(fit.constant).toBeCloseTo(5, 10);
    expect(fit.standardErrors.exponent).toBeLessThan(1e-12);
  });

  it('recover an irreducible loss', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.02, max: 0.5, noNaN: true }),
        fc.double({ min: 0.3, max: 2, noNaN: true }),
        (exponent, irreducible) => {
          // e^constant chosen so that the reducible loss is one in the middle
          const truth = law(exponent, exponent * Math.log(1e15), irreducible);
          const fit = fitPowerLawWithOffset(along(truth));
          expect(fit.exponent / exponent).toBeCloseTo(1, 4);
          expect(fit.irreducibleLoss).toBeCloseTo(irreducible, 3);
          expect(fit.standardErrors.exponent).toBeLessThan(1e-4);
          for (const compute of computes) {
            expect(lossAt(fit, compute) / lossAt(truth, compute)).toBeCloseTo(1, 6);
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it('hold the irreducible loss at zero or above', () => {
    // Bent the other way: in logarithms the fall gets steeper.
    const bent = computes.map((compute) => ({
      compute,
      loss: Math.exp(-0.001 * Math.log(compute / 1e10) ** 2),
    }));
    const fit = fitPowerLawWithOffset(bent);
    expect(fit.irreducibleLoss).toBe(0);
    expect(fit.standardErrors.irreducibleLoss).toBe(0);
    expect(fit.exponent).toBeGreaterThan(0);
  });

  it('give standard errors that noise explains', () => {
    const truth = law(0.2, 6, 0.5);
    const noisy = along(truth).map(({ compute, loss }, i) => ({
      compute,
      loss: loss + 1e-3 * Math.sin(i * 12.9898) * Math.SQRT2,
    }));
    const fit = fitPowerLawWithOffset(noisy);
    expect(Math.abs(fit.exponent - 0.2)).toBeLessThan(4 * fit.standardErrors.exponent);
    expect(Math.abs(fit.constant - 6)).toBeLessThan(4 * fit.standardErrors.constant);
    expect(Math.abs(fit.irreducibleLoss - 0.5)).toBeLessThan(
      4 * fit.standardErrors.irreducibleLoss,
    );
    expect(fit.standardErrors.exponent).toBeLessThan(0.02);
  });

  it('refuse too few points', () => {
    const point = { compute: 1e12, loss: 1 };
    expect(() => fitPowerLaw([point, point])).toThrow('2 or more different computes');
    expect(() => fitPowerLawWithOffset([point, { compute: 2e12, loss: 1 }])).toThrow('3 or more');
    const rising = computes.map((compute, i) => ({ compute, loss: 1 + i }));
    expect(() => fitPowerLawWithOffset(rising)).toThrow('Expected losses to fall');
  });
});

describe('computeMultiplier', () => {
  it('is the ratio of computes at equal loss', () => {
    const a = law(0.1, 3);
    const b = law(0.1, 3 + 0.1 * Math.log(2)); // twice as much for any loss
    expect(computeMultiplier(a, b, 1e15)).toBeCloseTo(2, 10);
    expect(computeMultiplier(b, a, 1e15)).toBeCloseTo(0.5, 10);
    expect(computeFor(a, lossAt(a, 3e14)) / 3e14).toBeCloseTo(1, 10);
  });

  it('is infinite where the other never gets there', () => {
    expect(computeMultiplier(law(0.1, 3), law(0.1, 3, 10), 1e15)).toBe(Infinity);
  });
});
