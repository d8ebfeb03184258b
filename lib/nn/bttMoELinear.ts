import { bttMoe, type Tensor } from '../tensor';
import { planBTT, type EinsumPlan, type Rounding } from '../structure';
import { requireObject } from '../checks';
import { requireAtMost, requirePositiveInteger } from './check';
import { factors, normalizeFactors } from './einsumLinear';
import { Gate } from './gate';
import type { LinearOptions } from './linear';
import { LinearLayer } from './module';
import { VECTOR } from './muP';
import { allOrNothing, Parameter } from './parameter';

export interface BTTMoELinearOptions extends LinearOptions {
  /** How many rank slices, each an expert. */
  experts: number;
  /** How many experts each token goes through (default 2). */
  k?: number;
  /** Whether each factor is scaled down to its initial root mean square and has a learned gain (default true). */
  normalize?: boolean;
  /** How the widths are factored (default 'divisors'). */
  rounding?: Rounding;
}

/** Added to the weights of the chosen experts, as in the published code. */
const WEIGHT_EPSILON = 1e-6;

/**
 * BTT of rank `experts` in which every rank slice is an expert: each token uses only its k slices of both factors,
 * weighted by a gate ("Searching for Efficient Linear Layers…", section 5).
 */
export class BTTMoELinear extends LinearLayer {
  readonly plan: EinsumPlan;
  readonly experts: number;
  readonly k: number;
  readonly normalize: boolean;
  /** First factor, [phi, 1, experts, gamma, alpha]. */
  readonly a: Parameter;
  /** Second factor, [phi, epsilon, experts, gamma, 1]; zero at the start with `zeroInit`. */
  readonly b: Parameter;
  /** Gain of the first normalised factor, scalar; null without normalisation. */
  readonly gainA: Parameter | null;
  /** Gain of the second normalised factor, scalar; null without normalisation. */
  readonly gainB: Parameter | null;
  readonly gate: Gate;
  /** [phi · epsilon] or null */
  readonly bias: Parameter | null;

  /** @throws EinlinearError OUT_OF_RANGE if k exceeds the number of experts */
  constructor(dIn: number, dOut: number, options: BTTMoELinearOptions) {
    super();
    requireObject('options', options);
    const { experts, k = 2, normalize = true, rounding } = options;
    const { bias = true, baseFans, device } = options;
    requirePositiveInteger('experts', experts);
    requirePositiveInteger('k', k);
    requireAtMost('k', k, experts, 'the number of experts');
    this.plan = planBTT(dIn, dOut, experts, { rounding, experts });
    this.experts = experts;
    this.k = k;
    this.normalize = normalize;
    const gain = (): Parameter | null => (normalize ? Parameter.ones([], VECTOR, device) : null);
    const { phi, epsilon } = this.plan.sizes;
    const fans = { fanIn: dIn, fanOut: dOut };
    const parts = allOrNothing(() => ({
      factors: factors(this.plan, options),
      gains: [gain(), gain()] as const,
      gate: new Gate(dIn, experts, k, { weightEpsilon: WEIGHT_EPSILON, fans, baseFans, device }),
      bias: bias ? Parameter.zeros([phi * epsilon], VECTOR, device) : null,
    }));
    [this.a, this.b] = parts.factors;
    [this.gainA, this.gainB] = parts.gains;
    this.gate = parts.gate;
    this.bias = parts.bias;
  }

  get dIn(): number {
    return this.plan.sizes.dIn;
  }

  get dOut(): number {
    return this.plan.sizes.dOut;
  }

  get macsPerToken(): number {
    return (this.plan.macsPerToken / this.experts) * this.k + this.experts * this.dIn;
  }

  /** @param x [..., dIn] @returns [..., dOut] */
  forward(x: Tensor): Tensor {
    return this.tidied(() => {
      const route = this.gate.forward(x);
      const [a, b] = this.normalize
        ? normalizeFactors(this.plan, this.a, this.gainA, this.b, this.gainB)
        : [this.a, this.b];
      return bttMoe(x, a, b, route, this.bias, this.plan.sizes);
    });
  }
}
