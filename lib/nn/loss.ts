import { crossEntropy, mseLoss, type Tensor } from '../tensor';
import { Module } from './module';

/** Mean over the targets that count of logsumexp(logits) − logits[target], in nats. */
export class CrossEntropyLoss extends Module {
  /** @param ignoreIndex target that does not count (default −100) */
  constructor(readonly ignoreIndex = -100) {
    super();
  }

  /**
   * @param logits [..., classes]
   * @param targets int32 [...], each in [0, classes) or `ignoreIndex`
   * @returns scalar
   */
  forward(logits: Tensor, targets: Tensor): Tensor {
    return crossEntropy(logits, targets, { ignoreIndex: this.ignoreIndex });
  }
}

/** Mean of (prediction − target)². */
export class MSELoss extends Module {
  /** @param prediction any shape @param target the same shape @returns scalar */
  forward(prediction: Tensor, target: Tensor): Tensor {
    return mseLoss(prediction, target);
  }
}
