import { requireOneOf } from '../checks';
import { EinlinearError } from '../errors';
import { nearestDivisorPair, nearestFactorization, primeFactorPair } from './factorize';
import { positiveInteger, roundHalfEven } from './integers';
import { formatTheta, validateTheta } from './theta';
import { INDEX_NAMES, ROUNDINGS, type EinsumSizes, type Rounding, type Theta } from './types';

/** Largest relative difference between a width and the product of its rounded sizes that the paper's layer accepts. */
export const PAPER_PADDING_TOLERANCE = 0.15;

/**
 * Integer sizes of a θ at widths dIn and dOut. The rank is the nearest integer to min(dIn, dOut)^θρ.
 *
 * With 'divisors' (the default) γβα = dIn and φεδ = dOut exactly, whatever the widths. With 'paper' each
 * d^θ is rounded on its own and the products may miss the widths by up to `tolerance`
 * (|product − width| / width).
 *
 * @throws EinlinearError INVALID_THETA for a θ outside the space, INVALID_ARGUMENT for widths that are not
 *   positive integers or a rounding that is neither, NOT_FACTORABLE if the paper's rounding misses a width by
 *   more than `tolerance`.
 */
export function sizesFromTheta(
  theta: Theta,
  dIn: number,
  dOut: number,
  options: { rounding?: Rounding; tolerance?: number } = {},
): EinsumSizes {
  const { rounding = 'divisors', tolerance = PAPER_PADDING_TOLERANCE } = options;
  validateTheta(theta);
  requireOneOf('rounding', rounding, ROUNDINGS);
  positiveInteger('dIn', dIn);
  positiveInteger('dOut', dOut);
  const rho = roundHalfEven(Math.min(dIn, dOut) ** theta.rho);
  if (rounding === 'divisors') {
    const [alpha, beta, gamma] = nearestFactorization(dIn, [theta.alpha, theta.beta, theta.gamma]);
    // φ before ε, so that ties fall as in a BTT, whose φ is the smaller of the two.
    const [phi, delta, epsilon] = nearestFactorization(dOut, [
      theta.phi,
      theta.delta,
      theta.epsilon,
    ]);
    return { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho };
  }
  const sizes: EinsumSizes = {
    dIn,
    dOut,
    alpha: roundHalfEven(dIn ** theta.alpha),
    beta: roundHalfEven(dIn ** theta.beta),
    gamma: roundHalfEven(dIn ** theta.gamma),
    delta: roundHalfEven(dOut ** theta.delta),
    epsilon: roundHalfEven(dOut ** theta.epsilon),
    phi: roundHalfEven(dOut ** theta.phi),
    rho,
  };
  const padding = relativePadding(sizes);
  for (const [name, width, product, relative] of [
    ['dIn', dIn, sizes.alpha * sizes.beta * sizes.gamma, padding.input],
    ['dOut', dOut, sizes.delta * sizes.epsilon * sizes.phi, padding.output],
  ] as const) {
    if (relative > tolerance) {
      throw new EinlinearError(
        'NOT_FACTORABLE',
        `Expected the rounded sizes of ${formatTheta(theta)} to multiply to within ` +
          `${tolerance * 100} % of ${name} = ${width}, got ${product} ` +
          `(${(relative * 100).toFixed(1)} % off); use rounding 'divisors' or another width`,
        { theta, [name]: width, product, relativePadding: relative, tolerance, sizes },
      );
    }
  }
  return sizes;
}

/** How far the products of the sizes miss the widths, |product − width| / width; zero for exact sizes. */
export function relativePadding(sizes: EinsumSizes): { input: number; output: number } {
  const miss = (product: number, width: number): number => Math.abs(product - width) / width;
  return {
    input: miss(sizes.alpha * sizes.beta * sizes.gamma, sizes.dIn),
    output: miss(sizes.delta * sizes.epsilon * sizes.phi, sizes.dOut),
  };
}

/**
 * Sizes of a block tensor-train of integer rank: dIn = α·γ, dOut = φ·ε, β = δ = 1. 'divisors' takes the
 * nearest pairs of divisors (768 → 24·32), 'paper' the published prime-factor scheme (768 → 16·48).
 *
 * @throws EinlinearError INVALID_ARGUMENT for widths or a rank that are not positive integers, or a rounding
 *   that is neither.
 */
export function bttSizes(
  dIn: number,
  dOut: number,
  rank: number,
  options: { rounding?: Rounding } = {},
): EinsumSizes {
  positiveInteger('dIn', dIn);
  positiveInteger('dOut', dOut);
  positiveInteger('rank', rank);
  const { rounding = 'divisors' } = options;
  requireOneOf('rounding', rounding, ROUNDINGS);
  const split = rounding === 'paper' ? primeFactorPair : nearestDivisorPair;
  const [alpha, gamma] = split(dIn);
  const [phi, epsilon] = split(dOut);
  return { dIn, dOut, alpha, beta: 1, gamma, delta: 1, epsilon, phi, rho: rank };
}

/**
 * Checks sizes that were made by hand.
 *
 * @throws EinlinearError INVALID_ARGUMENT if one of the nine is not a positive integer.
 */
export function validateSizes(sizes: EinsumSizes): EinsumSizes {
  positiveInteger('dIn', sizes.dIn);
  positiveInteger('dOut', sizes.dOut);
  for (const name of INDEX_NAMES) positiveInteger(name, sizes[name]);
  return sizes;
}
