import { moeCombine, moeDispatch, type Tensor } from '../tensor';
import {
  denseInitStd,
  planStructure,
  type EinsumPlan,
  type FactorPlan,
  type MatrixMoEPlan,
  type Structure,
} from '../structure';
import { requireObject, requireOneOf } from '../checks';
import { requirePositiveInteger } from './check';
import { Gate } from './gate';
import { GroupedLinear, type GroupedLinearOptions } from './groupedLinear';
import type { LinearOptions } from './linear';
import { LinearLayer } from './module';
import { matrix, type ParameterInfo } from './muP';
import { allOrNothing } from './parameter';

export interface MoELinearOptions extends LinearOptions {
  /** How many matrices. */
  experts: number;
  /** How many of them each token goes through (default 2). */
  k?: number;
  /** Whether each expert is a full matrix (default) or the product of two thin ones. */
  expert?: 'dense' | 'low-rank';
  /** Rank of a low-rank expert (default ⌈min(dIn, dOut) / experts⌉). */
  rank?: number;
  /** Whether each factor of a low-rank expert is scaled down to its initial root mean square (default true). */
  normalize?: boolean;
}

/**
 * Mixture of matrices: a gate sends each token through k of them and sums the outputs by its weights. Each expert has
 * its own bias. With `zeroInit` dense experts start at zero, and low-rank experts with their first factor at zero, so
 * that the second passes a gradient to it.
 */
export class MoELinear extends LinearLayer {
  readonly dIn: number;
  readonly dOut: number;
  /** Rank of each expert, or null where experts are full matrices. */
  readonly rank: number | null;
  readonly gate: Gate;
  /** [dIn → rank] of the low-rank experts; null where experts are full matrices. */
  readonly first: GroupedLinear | null;
  /** [rank → dOut] of the low-rank experts, or the full matrices [dIn → dOut], with the biases. */
  readonly last: GroupedLinear;

  /** @throws EinlinearError OUT_OF_RANGE if k exceeds the number of experts */
  constructor(dIn: number, dOut: number, options: MoELinearOptions) {
    super();
    requireObject('options', options);
    requirePositiveInteger('dIn', dIn);
    requirePositiveInteger('dOut', dOut);
    const { experts, k = 2, expert = 'dense', zeroInit = false, bias = true } = options;
    requireOneOf('expert', expert, ['dense', 'low-rank']);
    const { baseFans, generator, device } = options;
    const { normalize = true, rank } = options;
    const ranked = rank === undefined ? {} : { rank };
    const plan =
      expert === 'dense'
        ? null
        : planExpert({ kind: 'low-rank-moe', experts, k, ...ranked, normalize }, dIn, dOut);
    const fans = { fanIn: dIn, fanOut: dOut };
    const grouped = { generator, device };
    this.dIn = dIn;
    this.dOut = dOut;
    this.rank = plan === null ? null : plan.sizes.rho;
    const matrices = (): { first: GroupedLinear | null; last: GroupedLinear } => {
      if (plan === null) {
        const std = zeroInit ? 0 : denseInitStd(dIn, dOut);
        const info = matrix(fans, baseFans);
        const last = new GroupedLinear(experts, dIn, dOut, std, info, { ...grouped, bias });
        return { first: null, last };
      }
      const { a, b, sizes, normEps: eps } = plan;
      const trained = (factor: FactorPlan): ParameterInfo =>
        matrix(fans, baseFans, { adam: factor.adamMultiplier, sgd: factor.sgdMultiplier });
      const held = (factor: FactorPlan): GroupedLinearOptions =>
        normalize ? { ...grouped, normalize: { rms: factor.initStd, eps } } : grouped;
      const std = zeroInit ? 0 : a.initStd;
      const last = { ...held(b), bias };
      return {
        first: new GroupedLinear(experts, dIn, sizes.rho, std, trained(a), held(a)),
        last: new GroupedLinear(experts, sizes.rho, dOut, b.initStd, trained(b), last),
      };
    };
    const parts = allOrNothing(() => ({
      gate: new Gate(dIn, experts, k, { fans, baseFans, device }),
      ...matrices(),
    }));
    this.gate = parts.gate;
    this.first = parts.first;
    this.last = parts.last;
  }

  get macsPerToken(): number {
    const expert = this.rank === null ? this.dIn * this.dOut : this.rank * (this.dIn + this.dOut);
    return this.gate.k * expert + this.gate.experts * this.dIn;
  }

  /** @param x [..., dIn] @returns [..., dOut] */
  forward(x: Tensor): Tensor {
    return this.tidied(() => {
      const { index, weight } = this.gate.forward(x);
      const { rows, position, offsets } = moeDispatch(x, index, this.gate.experts);
      const hidden = this.first === null ? rows : this.first.forward(rows, offsets);
      const out = this.last.forward(hidden, offsets);
      const y = moeCombine(out, weight, position, weight.size / this.gate.k);
      return y.reshape([...x.shape.slice(0, -1), this.dOut]);
    });
  }
}

function planExpert(
  structure: Extract<Structure, { kind: 'low-rank-moe' }>,
  dIn: number,
  dOut: number,
): EinsumPlan {
  return (planStructure(structure, dIn, dOut) as MatrixMoEPlan).expert as EinsumPlan;
}
