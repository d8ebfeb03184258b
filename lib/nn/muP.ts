import type { Fans } from '../structure';

/** The optimisers for which learning-rate multipliers are defined. */
export type OptimizerKind = 'adam' | 'sgd';

/** What the learning-rate multipliers and weight decay of one parameter follow from. */
export interface ParameterInfo {
  /** The structure's own multipliers; 1 for whatever is not a factor of a structured layer. */
  multiplier: { adam: number; sgd: number };
  /** Fans of the dense matrix that the parameter belongs to; null for biases, norms and gains. */
  fans: Fans | null;
  /** The same fans in the base model, whose learning rate was tuned. */
  baseFans: Fans | null;
  /** Whether weight decay applies (matrices and factors, not biases, norms and gains). */
  decay: boolean;
}

/** Biases, norms and scalar gains: multiplier 1, never decayed. */
export const VECTOR: ParameterInfo = {
  multiplier: { adam: 1, sgd: 1 },
  fans: null,
  baseFans: null,
  decay: false,
};

/**
 * A matrix, or a factor of a structured layer.
 *
 * @param fans fans of the dense matrix it belongs to
 * @param baseFans the same in the base model (default: no change of width)
 * @param multiplier the structure's own multipliers (default 1)
 */
export function matrix(
  fans: Fans,
  baseFans: Fans = fans,
  multiplier: { adam: number; sgd: number } = { adam: 1, sgd: 1 },
): ParameterInfo {
  return { multiplier, fans, baseFans, decay: true };
}

/**
 * Learning-rate multiplier of a parameter: the structure's multiplier times the dense layer's μP ratio,
 * base fan-in / fan-in for Adam, (fan-out / fan-in) / (base fan-out / base fan-in) for SGD
 * ("Compute Better Spent", section 4).
 */
export function learningRateMultiplier(info: ParameterInfo, optimizer: OptimizerKind): number {
  const { multiplier, fans, baseFans } = info;
  if (fans === null || baseFans === null) return multiplier[optimizer];
  const ratio =
    optimizer === 'adam'
      ? baseFans.fanIn / fans.fanIn
      : fans.fanOut / fans.fanIn / (baseFans.fanOut / baseFans.fanIn);
  return multiplier[optimizer] * ratio;
}

/** Embeddings: an input of the model chooses one row, so the fan-in does not grow with the width. */
export function embeddingInfo(width: number, baseWidth: number): ParameterInfo {
  return matrix({ fanIn: 1, fanOut: width }, { fanIn: 1, fanOut: baseWidth });
}
