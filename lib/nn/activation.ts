import { gelu, relu, type Tensor } from '../tensor';
import { UnaryModule } from './module';

/** Gaussian error linear unit, exact (erf) or in its tanh approximation. */
export class GELU extends UnaryModule {
  constructor(readonly approximate: 'none' | 'tanh' = 'none') {
    super();
  }

  /** @param x any shape @returns the same shape */
  forward(x: Tensor): Tensor {
    return gelu(x, { approximate: this.approximate });
  }
}

/** max(x, 0) */
export class ReLU extends UnaryModule {
  /** @param x any shape @returns the same shape */
  forward(x: Tensor): Tensor {
    return relu(x);
  }
}
