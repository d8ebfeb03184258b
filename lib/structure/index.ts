export * from './types';
export {
  THETA_SUM_TOLERANCE,
  formatTheta,
  mirrorTheta,
  parseTheta,
  thetaFromArray,
  thetaToArray,
  validateTheta,
} from './theta';
export { divisors, nearestDivisorPair, nearestFactorization, primeFactorPair } from './factorize';
export { roundHalfEven } from './integers';
export {
  PAPER_PADDING_TOLERANCE,
  bttSizes,
  relativePadding,
  sizesFromTheta,
  validateSizes,
} from './sizes';
export { denseFactorPlan, denseInitStd, factorPlans, weightNormEps } from './parameterization';
export { canonicalTheta, isDegenerate, isRedundant, taxonomy } from './taxonomy';
export { einsumParameters, finiteTaxonomy } from './counts';
export {
  NAMED_THETA,
  STRUCTURE_NAMES,
  formatStructure,
  lowRank,
  parseStructure,
  thetaOfStructure,
  validateStructure,
} from './structure';
export type { Structure } from './structure';
export { planBTT, planDense, planEinsum, planSizes, planStructure } from './plan';
