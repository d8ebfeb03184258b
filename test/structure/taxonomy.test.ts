import * as fc from 'fast-check';

import {
  finiteTaxonomy,
  mirrorTheta,
  parseTheta,
  taxonomy,
  type EinsumSizes,
  type Theta,
} from '../../lib/structure';
import { thetas } from './arbitraries';

/** Sizes d^θ of a huge width, not rounded: the counts are then exact monomials in d. */
function realSizes(theta: Theta, d: number): EinsumSizes {
  const sizes = Object.fromEntries(
    Object.entries(theta).map(([name, exponent]: [string, number]) => [name, d ** exponent]),
  ) as unknown as EinsumSizes;
  return { ...sizes, dIn: d, dOut: d };
}

describe('taxonomy', () => {
  it.each([
    ['dense', '(1|0|0|0|1|0|1)', { omega: 0, psi: 1, nu: 1 }],
    ['low rank', '(1|0|0|0|1|0|0.25)', { omega: 0, psi: 0.25, nu: 0.25 }],
    ['Kronecker', '(0.5|0.5|0|0.5|0.5|0|0)', { omega: 0.5, psi: 1, nu: 0.5 }],
    ['Monarch', '(0.5|0|0.5|0|0.5|0.5|0)', { omega: 0, psi: 1, nu: 0.5 }],
  ])('of %s', (_, text, expected) => {
    expect(taxonomy(parseTheta(text))).toMatchObject({
      ...expected,
      redundant: false,
      degenerate: false,
    });
  });

  it("gives the paper's tensor-train figure its right values", () => {
    const theta = { ...parseTheta('(0|1|0|0.75|0.25|0|0)'), alpha: 1 / 3, beta: 2 / 3 };
    const got = taxonomy(theta);
    expect(got.redundant).toBe(true);
    expect(got.canonical).toEqual(mirrorTheta(theta));
    expect(got.psi).toBeCloseTo(7 / 12, 12);
    expect(1 + got.nu).toBeCloseTo(4 / 3, 12);
  });

  it('is the same for θ and its mirror image', () => {
    fc.assert(
      fc.property(thetas, (theta) => {
        const { redundant, canonical, ...exponents } = taxonomy(theta);
        const mirror = taxonomy(mirrorTheta(theta));
        expect(mirror).toMatchObject(exponents);
        // Both are redundant for no θ; where neither is, each is its own canonical form.
        expect(redundant && mirror.redundant).toBe(false);
        if (redundant || mirror.redundant) expect(mirror.canonical).toEqual(canonical);
      }),
    );
  });

  it('has an idempotent canonical form that is not redundant', () => {
    fc.assert(
      fc.property(thetas, (theta) => {
        const { canonical } = taxonomy(theta);
        expect(taxonomy(canonical)).toMatchObject({ canonical, redundant: false });
        const { alpha, beta, delta, epsilon, rho } = canonical;
        const got = taxonomy(theta);
        // The paper's own formulas, which hold in this orientation.
        expect(got.omega).toBeCloseTo(
          Math.min(alpha + delta, beta + epsilon) - Math.min(alpha, epsilon),
          9,
        );
        expect(got.psi).toBeCloseTo(1 + Math.min(0, 1 + rho - alpha - epsilon), 9);
        expect(got.nu).toBeCloseTo(1 + rho - Math.min(alpha, epsilon), 9);
        expect(got.degenerate).toBe(rho > Math.min(alpha, epsilon) + 1e-9);
      }),
    );
  });

  it('is what the finite counts approach', () => {
    const d = 2 ** 300;
    fc.assert(
      fc.property(thetas, (theta) => {
        const { macs, parameters, rank } = finiteTaxonomy(realSizes(theta, d));
        const { omega, psi, nu } = taxonomy(theta);
        const exponent = (count: number): number => Math.log(count) / Math.log(d);
        expect(exponent(macs)).toBeCloseTo(1 + nu, 2);
        expect(exponent(rank)).toBeCloseTo(psi, 2);
        expect(exponent(macs / parameters)).toBeCloseTo(omega, 2);
      }),
    );
  });

  it('does not hang on the last bit of a third', () => {
    const third = { ...parseTheta('(1|0|0|0|1|0|0)'), alpha: 1 / 3, beta: 1 - 1 / 3 };
    const theta = { ...third, delta: 1 - 2 / 3, epsilon: 2 / 3 };
    expect(taxonomy(theta)).toMatchObject({ redundant: false, canonical: theta });
  });

  it('refuses what is not a point', () => {
    expect(() => taxonomy({ ...parseTheta('(1|0|0|0|1|0|0)'), rho: 2 })).toThrow('rho');
  });
});
