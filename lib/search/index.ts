export {
  FRONTIER_TOLERANCE,
  computeFor,
  computeMultiplier,
  efficientFrontier,
  fitPowerLaw,
  fitPowerLawWithOffset,
  lossAt,
} from './laws';
export type { LawPoint, ScalingLaw, ScalingLawFit } from './laws';
