import type { EinsumSizes, FiniteTaxonomy } from './types';

/** Learned numbers of the two factors: A has φδργα, B has φεργβ. */
export function einsumParameters(sizes: EinsumSizes): number {
  const { alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  return phi * rho * gamma * (delta * alpha + epsilon * beta);
}

/**
 * Exact counts of a two-factor layer: MACs per token, parameters (without bias and gains), and the rank
 * min(dOut, dIn, φδργβ, φεργα) that generic factors reach.
 */
export function finiteTaxonomy(sizes: EinsumSizes): FiniteTaxonomy {
  const { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  const shared = gamma * phi * rho;
  const aFirst = shared * beta * delta * (alpha + epsilon);
  const bFirst = shared * alpha * epsilon * (beta + delta);
  return {
    macs: Math.min(aFirst, bFirst),
    macsByOrder: { aFirst, bFirst },
    parameters: einsumParameters(sizes),
    rank: Math.min(dOut, dIn, shared * delta * beta, shared * epsilon * alpha),
  };
}
