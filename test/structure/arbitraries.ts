import * as fc from 'fast-check';

import type { Theta } from '../../lib/structure';

const fraction = fc.integer({ min: 0, max: 1000 });

/** Three exponents in thousandths that sum to one. */
const triple = fc
  .tuple(fraction, fraction)
  .map(([p, q]) => [Math.min(p, q), Math.abs(p - q), 1000 - Math.max(p, q)] as const);

/** Any point of the space, in thousandths as the text form would write it. */
export const thetas: fc.Arbitrary<Theta> = fc
  .tuple(triple, triple, fraction)
  .map(([[alpha, beta, gamma], [delta, epsilon, phi], rho]) => ({
    alpha: alpha / 1000,
    beta: beta / 1000,
    gamma: gamma / 1000,
    delta: delta / 1000,
    epsilon: epsilon / 1000,
    phi: phi / 1000,
    rho: rho / 1000,
  }));

/** Widths of layers, awkward ones included. */
export const widths = fc.integer({ min: 1, max: 5000 });
