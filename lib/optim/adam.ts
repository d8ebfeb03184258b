import type { Tensor } from '../tensor';
import type { Module } from '../nn';
import { Optimizer, requireAtLeastZero, requireFraction, type Slot } from './optimizer';
import type { ParameterGroup } from './parameterGroups';

export interface AdamOptions {
  /** Learning rate (default 1e-3). */
  lr?: number;
  /** Decay rates of the two moments (default [0.9, 0.999]). */
  betas?: readonly [number, number];
  /** Added to the root of the second moment (default 1e-8). */
  eps?: number;
  /** Weight decay (default 0 for Adam, 0.01 for AdamW). */
  weightDecay?: number;
}

abstract class AdamBase extends Optimizer {
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly #decoupled: boolean;

  protected constructor(
    target: Module | readonly ParameterGroup[],
    options: AdamOptions,
    weightDecay: number,
    decoupled: boolean,
  ) {
    const { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8 } = options;
    requireFraction('betas[0]', betas[0]);
    requireFraction('betas[1]', betas[1]);
    requireAtLeastZero('eps', eps);
    super(target, 'adam', lr, weightDecay, ['m', 'v']);
    this.betas = betas;
    this.eps = eps;
    this.#decoupled = decoupled;
  }

  protected update(slot: Slot, grad: Tensor, gradScale: Tensor | null, step: number): void {
    const { parameter, moments, lrMultiplier, weightDecay } = slot;
    const [beta1, beta2] = this.betas;
    const [m, v] = moments as [Tensor, Tensor];
    parameter.device.ops.adam(
      parameter.size,
      this.lr * lrMultiplier,
      beta1,
      beta2,
      this.eps,
      weightDecay,
      1 - beta1 ** step,
      1 - beta2 ** step,
      this.#decoupled,
      grad.buffer,
      gradScale?.buffer ?? null,
      parameter.buffer,
      m.buffer,
      v.buffer,
    );
  }
}

/** Adam (Kingma and Ba, 2015); weight decay is added to the gradient. */
export class Adam extends AdamBase {
  constructor(target: Module | readonly ParameterGroup[], options: AdamOptions = {}) {
    super(target, options, options.weightDecay ?? 0, false);
  }
}

/** Adam with decoupled weight decay (Loshchilov and Hutter, 2019): a parameter is first scaled by 1 − lr · decay. */
export class AdamW extends AdamBase {
  constructor(target: Module | readonly ParameterGroup[], options: AdamOptions = {}) {
    super(target, options, options.weightDecay ?? 0.01, true);
  }
}
