import { layerNorm, type Device, type Tensor } from '../tensor';
import { requireFloat, requireLastAxis } from '../tensor/checks';
import { requirePositiveInteger } from './check';
import { UnaryModule } from './module';
import { VECTOR } from './muP';
import { Parameter } from './parameter';

export interface LayerNormOptions {
  /** Added to the variance (default 1e-5). */
  eps?: number;
  /** Whether there is a bias beside the gain (default true). */
  bias?: boolean;
  device?: Device;
}

/** Layer normalisation over the last axis, (x − mean) / sqrt(variance + ε) · weight + bias. */
export class LayerNorm extends UnaryModule {
  readonly eps: number;
  /** Gain, [width], starting at one. */
  readonly weight: Parameter;
  /** [width], starting at zero, or null */
  readonly bias: Parameter | null;

  constructor(width: number, options: LayerNormOptions = {}) {
    super();
    requirePositiveInteger('width', width);
    const { eps = 1e-5, bias = true, device } = options;
    this.eps = eps;
    this.weight = Parameter.ones([width], VECTOR, device);
    this.bias = bias ? Parameter.zeros([width], VECTOR, device) : null;
  }

  /** @param x [..., width] @returns the same shape */
  forward(x: Tensor): Tensor {
    requireFloat('x', x);
    requireLastAxis('x', x, this.weight.size, 'width');
    return layerNorm(x, this.weight, this.bias, this.eps);
  }
}
