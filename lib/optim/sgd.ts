import { EinlinearError } from '../errors';
import type { Tensor } from '../tensor';
import type { Module } from '../nn';
import { Optimizer, requireAtLeastZero, type Slot } from './optimizer';
import type { ParameterGroup } from './parameterGroups';

export interface SGDOptions {
  /** Learning rate (default 1e-2). */
  lr?: number;
  /** Share of the former step that is kept (default 0). */
  momentum?: number;
  /** Whether the step looks ahead along the momentum (default false; needs momentum). */
  nesterov?: boolean;
  /** Weight decay, added to the gradient (default 0). */
  weightDecay?: number;
}

/** Stochastic gradient descent, optionally with (Nesterov) momentum. */
export class SGD extends Optimizer {
  readonly momentum: number;
  readonly nesterov: boolean;

  constructor(target: Module | readonly ParameterGroup[], options: SGDOptions = {}) {
    const { lr = 1e-2, momentum = 0, nesterov = false, weightDecay = 0 } = options;
    requireAtLeastZero('momentum', momentum);
    if (nesterov && momentum === 0) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        'Expected momentum to be more than 0 with nesterov, got 0',
        { momentum },
      );
    }
    super(target, 'sgd', lr, weightDecay, momentum > 0 ? ['momentum'] : []);
    this.momentum = momentum;
    this.nesterov = nesterov;
  }

  protected update(slot: Slot, grad: Tensor, gradScale: Tensor | null): void {
    const { parameter, moments, lrMultiplier, weightDecay } = slot;
    parameter.device.ops.sgd(
      parameter.size,
      this.lr * lrMultiplier,
      this.momentum,
      weightDecay,
      this.nesterov,
      false, // the buffer starts at zero, so the first step needs no case of its own
      grad.buffer,
      gradScale?.buffer ?? null,
      parameter.buffer,
      moments[0]?.buffer ?? null,
    );
  }
}
