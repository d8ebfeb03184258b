import { mirrorTheta, validateTheta } from './theta';
import type { Taxonomy, Theta } from './types';

/** Differences below this are rounding of fractions such as 1/3, not a preference for one orientation. */
const TIE = 1e-9;

/**
 * Whether the mirror image is the canonical form: min(α,ε) < min(β,δ), so that contracting A first is the
 * dearer order.
 */
export function isRedundant(theta: Theta): boolean {
  return Math.min(theta.alpha, theta.epsilon) < Math.min(theta.beta, theta.delta) - TIE;
}

/** θ itself, or its mirror image (the same operators) where θ is redundant. */
export function canonicalTheta(theta: Theta): Theta {
  return isRedundant(theta) ? mirrorTheta(theta) : theta;
}

/** Whether the rank exceeds min(α,ε) of the canonical form, beyond which it buys nothing. */
export function isDegenerate(theta: Theta): boolean {
  return theta.rho > cheaperSplit(theta) + TIE;
}

/**
 * Exponents of a θ for equal widths d: MACs = Θ(d^(1+ν)), rank = Θ(d^ψ), MACs/parameters = Θ(d^ω). They
 * are the same for θ and its mirror image, and defined at redundant and degenerate points too.
 *
 * @throws EinlinearError INVALID_THETA for a θ outside the space.
 */
export function taxonomy(theta: Theta): Taxonomy {
  validateTheta(theta);
  const { alpha, beta, delta, epsilon, rho } = theta;
  const split = cheaperSplit(theta);
  return {
    omega: Math.min(alpha + delta, beta + epsilon) - split,
    psi: Math.min(1, 2 + rho - Math.max(alpha + epsilon, beta + delta)),
    nu: 1 + rho - split,
    redundant: isRedundant(theta),
    degenerate: isDegenerate(theta),
    canonical: canonicalTheta(theta),
  };
}

/** min(α,ε) of the canonical form: what the cheaper contraction order saves. */
function cheaperSplit(theta: Theta): number {
  return Math.max(Math.min(theta.alpha, theta.epsilon), Math.min(theta.beta, theta.delta));
}
