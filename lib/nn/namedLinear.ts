import {
  planBTT,
  planStructure,
  type EinsumPlan,
  type Rounding,
  type Structure,
} from '../structure';
import { EinsumLinear, type FactorOptions } from './einsumLinear';

/** Structures that are one two-factor layer. */
type EinsumKind = 'monarch' | 'low-rank' | 'kronecker' | 'tensor-train';

export interface RoundedOptions extends FactorOptions {
  /** How the widths are factored (default 'divisors'). */
  rounding?: Rounding;
}

export interface BTTLinearOptions extends RoundedOptions {
  /** Rank (default 1). */
  rank?: number;
}

/**
 * Block tensor-train: β = δ = 1, two block-diagonal factors of integer rank ("Compute Better Spent", section 3). Each
 * normalised factor has a gain unless `gains` is false.
 */
export class BTTLinear extends EinsumLinear {
  constructor(dIn: number, dOut: number, options: BTTLinearOptions = {}) {
    const { rank = 1, rounding, gains = true } = options;
    super(planBTT(dIn, dOut, rank, { rounding }), { ...options, gains });
  }
}

/** Monarch: a BTT of rank 1 with sizes from θ = (½, 0, ½, 0, ½, ½, 0). */
export class MonarchLinear extends EinsumLinear {
  constructor(dIn: number, dOut: number, options: RoundedOptions = {}) {
    super(plan({ kind: 'monarch', ...common(options) }, dIn, dOut), options);
  }
}

export interface LowRankLinearOptions extends FactorOptions {
  /** Rank (default ⌈√min(dIn, dOut)⌉); not together with `fraction`. */
  rank?: number;
  /** Rank as a fraction of min(dIn, dOut), rounded up. */
  fraction?: number;
}

/** Product of two thin matrices, dIn → rank → dOut. */
export class LowRankLinear extends EinsumLinear {
  constructor(dIn: number, dOut: number, options: LowRankLinearOptions = {}) {
    const { rank, fraction, normalize = true } = options;
    const ranked = {
      ...(rank === undefined ? {} : { rank }),
      ...(fraction === undefined ? {} : { fraction }),
    };
    super(plan({ kind: 'low-rank', ...ranked, normalize }, dIn, dOut), options);
  }
}

/** Kronecker product of two matrices, θ = (½, ½, 0, ½, ½, 0, 0). */
export class KroneckerLinear extends EinsumLinear {
  constructor(dIn: number, dOut: number, options: RoundedOptions = {}) {
    super(plan({ kind: 'kronecker', ...common(options) }, dIn, dOut), options);
  }
}

export interface TensorTrainLinearOptions extends RoundedOptions {
  /** Rank between the cores (default: min(dIn, dOut)^¼, rounded). */
  rank?: number;
}

/** Tensor-train of two cores: a sum of `rank` Kronecker products that share nothing. */
export class TensorTrainLinear extends EinsumLinear {
  constructor(dIn: number, dOut: number, options: TensorTrainLinearOptions = {}) {
    const ranked = options.rank === undefined ? {} : { rank: options.rank };
    super(plan({ kind: 'tensor-train', ...ranked, ...common(options) }, dIn, dOut), options);
  }
}

function common(options: RoundedOptions): { normalize: boolean; rounding: Rounding } {
  return { normalize: options.normalize ?? true, rounding: options.rounding ?? 'divisors' };
}

function plan(structure: Structure & { kind: EinsumKind }, dIn: number, dOut: number): EinsumPlan {
  return planStructure(structure, dIn, dOut) as EinsumPlan;
}
