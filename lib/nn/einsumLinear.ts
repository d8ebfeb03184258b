import { einsum2, normalizeWeight, type Device, type Generator, type Tensor } from '../tensor';
import {
  parseTheta,
  planEinsum,
  type EinsumPlan,
  type FactorPlan,
  type Fans,
  type Rounding,
  type Theta,
} from '../structure';
import type { LinearOptions } from './linear';
import { LinearLayer } from './module';
import { matrix, VECTOR, type ParameterInfo } from './muP';
import { allOrNothing, Parameter } from './parameter';

export interface FactorOptions extends LinearOptions {
  /** Whether each factor is scaled down to its initial root mean square before use (default true). */
  normalize?: boolean;
  /** Whether each normalised factor has a learned scalar gain (default false). */
  gains?: boolean;
}

export interface EinsumLinearOptions extends FactorOptions {
  /** Nearest exact factorisation (default), or the paper's rounding with truncation and zero-padding. */
  rounding?: Rounding;
}

/**
 * Layer of two factors, Y[φ,ε,δ] = Σ A[φ,δ,ρ,γ,α] B[φ,ε,ρ,γ,β] X[γ,β,α], with sizes from a plan
 * ("Searching for Efficient Linear Layers over a Continuous Space of Structured Matrices", section 3).
 */
export class EinsumLinear extends LinearLayer {
  readonly plan: EinsumPlan;
  readonly normalize: boolean;
  /** First factor, [phi, delta, rho, gamma, alpha]. */
  readonly a: Parameter;
  /** Second factor, [phi, epsilon, rho, gamma, beta]; zero at the start with `zeroInit`. */
  readonly b: Parameter;
  /** Gain of the first normalised factor, scalar, or null. */
  readonly gainA: Parameter | null;
  /** Gain of the second normalised factor, scalar, or null. */
  readonly gainB: Parameter | null;
  /** [phi · epsilon · delta] (added before truncation or padding) or null */
  readonly bias: Parameter | null;

  /** @param plan sizes, fans and multipliers from `planEinsum` or `planBTT` */
  constructor(plan: EinsumPlan, options?: FactorOptions);
  /**
   * @param theta point of the space or its text form
   * @throws EinlinearError INVALID_THETA, INVALID_ARGUMENT, NOT_FACTORABLE
   */
  constructor(theta: Theta | string, dIn: number, dOut: number, options?: EinsumLinearOptions);
  constructor(
    structure: EinsumPlan | Theta | string,
    dInOrOptions?: number | FactorOptions,
    dOut?: number,
    einsumOptions: EinsumLinearOptions = {},
  ) {
    super();
    const options = typeof dInOrOptions === 'object' ? dInOrOptions : einsumOptions;
    const plan =
      typeof structure === 'object' && structure !== null && 'sizes' in structure
        ? structure
        : planEinsum(
            typeof structure === 'string' ? parseTheta(structure) : structure,
            dInOrOptions as number,
            dOut as number,
            { rounding: einsumOptions.rounding },
          );
    const { normalize = true, gains = false, bias = true, device } = options;
    this.plan = plan;
    this.normalize = normalize;
    const gain = (): Parameter | null =>
      normalize && gains ? Parameter.ones([], VECTOR, device) : null;
    const { phi, epsilon, delta } = plan.sizes;
    const parts = allOrNothing(() => ({
      factors: factors(plan, options),
      gains: [gain(), gain()] as const,
      bias: bias ? Parameter.zeros([phi * epsilon * delta], VECTOR, device) : null,
    }));
    [this.a, this.b] = parts.factors;
    [this.gainA, this.gainB] = parts.gains;
    this.bias = parts.bias;
  }

  get dIn(): number {
    return this.plan.sizes.dIn;
  }

  get dOut(): number {
    return this.plan.sizes.dOut;
  }

  get macsPerToken(): number {
    return this.plan.macsPerToken;
  }

  /** @param x [..., dIn] @returns [..., dOut] */
  forward(x: Tensor): Tensor {
    return this.tidied(() => {
      const [a, b] = this.normalize
        ? normalizeFactors(this.plan, this.a, this.gainA, this.b, this.gainB)
        : [this.a, this.b];
      return einsum2(x, a, b, this.bias, this.plan.sizes);
    });
  }
}

/** What creates the two factors of a plan. */
export interface FactorInit {
  zeroInit?: boolean;
  baseFans?: Fans;
  generator?: Generator;
  device?: Device;
}

/** The two factors of a plan with their initial values. */
export function factors(plan: EinsumPlan, init: FactorInit): [Parameter, Parameter] {
  const { zeroInit = false, generator, device } = init;
  const { alpha, beta, gamma, delta, epsilon, phi, rho } = plan.sizes;
  const info = (factor: FactorPlan): ParameterInfo => factorInfo(plan, factor, init.baseFans);
  const shapeB = [phi, epsilon, rho, gamma, beta];
  const a = Parameter.normal(
    [phi, delta, rho, gamma, alpha],
    plan.a.initStd,
    info(plan.a),
    generator,
    device,
  );
  const b = zeroInit
    ? Parameter.zeros(shapeB, info(plan.b), device)
    : Parameter.normal(shapeB, plan.b.initStd, info(plan.b), generator, device);
  return [a, b];
}

function factorInfo(plan: EinsumPlan, factor: FactorPlan, baseFans?: Fans): ParameterInfo {
  const { dIn, dOut } = plan.sizes;
  return matrix({ fanIn: dIn, fanOut: dOut }, baseFans, {
    adam: factor.adamMultiplier,
    sgd: factor.sgdMultiplier,
  });
}

/** Factors scaled down to at most their initial root mean square, times their gains. */
export function normalizeFactors(
  plan: EinsumPlan,
  a: Parameter,
  gainA: Parameter | null,
  b: Parameter,
  gainB: Parameter | null,
): [Tensor, Tensor] {
  return [
    normalizeWeight(a, gainA, { rms: plan.a.initStd, eps: plan.normEps }),
    normalizeWeight(b, gainB, { rms: plan.b.initStd, eps: plan.normEps }),
  ];
}
