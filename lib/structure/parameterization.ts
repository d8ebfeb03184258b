import { positiveInteger } from './integers';
import type { EinsumSizes, FactorPlan, Fans } from './types';

/** Factors of a two-factor layer, between which the learning rate is shared. */
const FACTORS = 2;

/**
 * Standard deviation of the initial weights of a dIn → dOut matrix that keeps updates of unit size at any
 * width (spectral condition of the maximal-update parameterisation): sqrt(min(1, dOut/dIn) / dIn).
 */
export function denseInitStd(dIn: number, dOut: number): number {
  return Math.sqrt(Math.min(1, dOut / dIn) / dIn);
}

/** Initialisation of a plain matrix; its multipliers are one, the dense μP ratio being applied elsewhere. */
export function denseFactorPlan(dIn: number, dOut: number): FactorPlan {
  positiveInteger('dIn', dIn);
  positiveInteger('dOut', dOut);
  return {
    fanIn: dIn,
    fanOut: dOut,
    initStd: denseInitStd(dIn, dOut),
    adamMultiplier: 1,
    sgdMultiplier: 1,
  };
}

/**
 * Fans, initialisation and learning-rate multipliers of both factors (structure-aware μP). A has fan-in α
 * and fan-out δφρ, B fan-in βγρ and fan-out ε, whichever is contracted first. With `experts` the rank
 * slices are independent experts and the fans are those of one slice.
 */
export function factorPlans(
  sizes: EinsumSizes,
  experts = 1,
): { readonly a: FactorPlan; readonly b: FactorPlan } {
  const { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi } = sizes;
  const rank = sizes.rho / experts;
  const factor = ({ fanIn, fanOut }: Fans): FactorPlan => ({
    fanIn,
    fanOut,
    initStd: denseInitStd(fanIn, fanOut),
    adamMultiplier: dIn / fanIn / FACTORS,
    sgdMultiplier: fanOut / fanIn / (dOut / dIn) / FACTORS,
  });
  return {
    a: factor({ fanIn: alpha, fanOut: delta * phi * rank }),
    b: factor({ fanIn: beta * gamma * rank, fanOut: epsilon }),
  };
}

/**
 * ε₀ in rms(W) = sqrt(mean(W²) + ε₀) of weight normalisation: 1e-8 where the sizes are those of a BTT
 * (β = δ = 1, low rank included), 1e-6 otherwise, as in the published code.
 */
export function weightNormEps(sizes: EinsumSizes): number {
  return sizes.beta === 1 && sizes.delta === 1 ? 1e-8 : 1e-6;
}
