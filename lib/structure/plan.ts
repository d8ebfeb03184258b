import { EinlinearError } from '../errors';
import { finiteTaxonomy } from './counts';
import { denseFactorPlan, factorPlans, weightNormEps } from './parameterization';
import { positiveInteger } from './integers';
import { bttSizes, sizesFromTheta, validateSizes } from './sizes';
import { NAMED_THETA, lowRank, validateStructure, type Structure } from './structure';
import type {
  BTTMoEPlan,
  DensePlan,
  EinsumPlan,
  EinsumSizes,
  LayerPlan,
  MatrixMoEPlan,
  Rounding,
  Theta,
} from './types';

/**
 * Plan of a plain dIn → dOut matrix.
 *
 * @throws EinlinearError INVALID_ARGUMENT for widths that are not positive integers.
 */
export function planDense(dIn: number, dOut: number): DensePlan {
  const weight = denseFactorPlan(dIn, dOut);
  return { kind: 'dense', dIn, dOut, weight, macsPerToken: dIn * dOut, parameters: dIn * dOut };
}

/**
 * Plan of a two-factor layer from its sizes. With `experts` the rank slices are independent experts and the
 * fans are those of one slice; counts are those of the whole layer.
 *
 * @throws EinlinearError INVALID_ARGUMENT for sizes that are not positive integers, or a rank that the
 *   experts do not divide.
 */
export function planSizes(
  sizes: EinsumSizes,
  options: { theta?: Theta; experts?: number } = {},
): EinsumPlan {
  validateSizes(sizes);
  const experts = positiveInteger('experts', options.experts ?? 1);
  if (sizes.rho % experts !== 0) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected rank to be a multiple of experts = ${experts}, got ${sizes.rho}`,
      { rank: sizes.rho, experts },
    );
  }
  const counts = finiteTaxonomy(sizes);
  return {
    kind: 'einsum',
    sizes,
    ...factorPlans(sizes, experts),
    normEps: weightNormEps(sizes),
    macsPerToken: counts.macs,
    parameters: counts.parameters,
    ...(options.theta === undefined ? {} : { theta: options.theta }),
  };
}

/**
 * Plan of the layer at a point θ of the space, dIn → dOut.
 *
 * @param options.tolerance largest relative padding accepted with the paper's rounding (default 0.15)
 * @throws EinlinearError INVALID_THETA for a θ outside the space, INVALID_ARGUMENT for widths that are not
 *   positive integers, NOT_FACTORABLE if the paper's rounding misses a width by more than `tolerance`.
 */
export function planEinsum(
  theta: Theta,
  dIn: number,
  dOut: number,
  options: { rounding?: Rounding; tolerance?: number } = {},
): EinsumPlan {
  return planSizes(sizesFromTheta(theta, dIn, dOut, options), { theta });
}

/**
 * Plan of a block tensor-train of integer rank, dIn → dOut. With `experts` (a divisor of the rank) the fans
 * are those of one expert's slice.
 *
 * @throws EinlinearError INVALID_ARGUMENT for widths, a rank or experts that are not positive integers.
 */
export function planBTT(
  dIn: number,
  dOut: number,
  rank: number,
  options: { rounding?: Rounding; experts?: number } = {},
): EinsumPlan {
  const sizes = bttSizes(dIn, dOut, rank, options);
  return planSizes(sizes, options.experts === undefined ? {} : { experts: options.experts });
}

/**
 * Plan of one linear layer dIn → dOut of a given structure. Standard sparse MoE (`moe`) replaces whole
 * feed-forward blocks, so a single linear layer of it is dense.
 *
 * @param options.tolerance largest relative padding accepted with the paper's rounding (default 0.15)
 * @throws EinlinearError as `parseStructure`, `planEinsum` and `planBTT` do.
 */
export function planStructure(
  structure: Structure,
  dIn: number,
  dOut: number,
  options: { tolerance?: number } = {},
): LayerPlan {
  validateStructure(structure);
  positiveInteger('dIn', dIn);
  positiveInteger('dOut', dOut);
  switch (structure.kind) {
    case 'dense':
    case 'moe':
      return planDense(dIn, dOut);
    case 'einsum':
      return planEinsum(structure.theta, dIn, dOut, { ...options, rounding: structure.rounding });
    case 'btt':
      return planBTT(dIn, dOut, structure.rank, { rounding: structure.rounding });
    case 'monarch':
    case 'kronecker':
      return planEinsum(NAMED_THETA[structure.kind], dIn, dOut, {
        ...options,
        rounding: structure.rounding,
      });
    case 'low-rank':
      return planLowRank(dIn, dOut, lowRank(structure, dIn, dOut));
    case 'tensor-train': {
      const plan = planEinsum(NAMED_THETA['tensor-train'], dIn, dOut, {
        ...options,
        rounding: structure.rounding,
      });
      return structure.rank === undefined
        ? plan
        : planSizes({ ...plan.sizes, rho: structure.rank });
    }
    case 'btt-moe':
      return planBTTMoE(structure, dIn, dOut);
    case 'dense-moe':
    case 'low-rank-moe':
      return planMatrixMoE(structure, dIn, dOut);
  }
}

function planLowRank(dIn: number, dOut: number, rank: number): EinsumPlan {
  const one = { beta: 1, gamma: 1, delta: 1, phi: 1 };
  return planSizes({ dIn, dOut, ...one, alpha: dIn, epsilon: dOut, rho: rank });
}

function planBTTMoE(
  { kind, experts, k, rounding }: Extract<Structure, { kind: 'btt-moe' }>,
  dIn: number,
  dOut: number,
): BTTMoEPlan {
  const einsum = planBTT(dIn, dOut, experts, { rounding, experts });
  const gate = denseFactorPlan(dIn, experts);
  // Every slice costs the same, so the share is a whole number of MACs.
  const active = (einsum.macsPerToken / experts) * k;
  return {
    kind,
    experts,
    k,
    einsum,
    gate,
    macsPerToken: active + dIn * experts,
    parameters: einsum.parameters + dIn * experts,
  };
}

function planMatrixMoE(
  structure: Extract<Structure, { kind: 'dense-moe' | 'low-rank-moe' }>,
  dIn: number,
  dOut: number,
): MatrixMoEPlan {
  const { kind, experts, k } = structure;
  const expert =
    structure.kind === 'dense-moe'
      ? planDense(dIn, dOut)
      : planLowRank(dIn, dOut, lowRank(structure, dIn, dOut));
  return {
    kind,
    experts,
    k,
    expert,
    gate: denseFactorPlan(dIn, experts),
    macsPerToken: k * expert.macsPerToken + dIn * experts,
    parameters: experts * expert.parameters + dIn * experts,
  };
}
