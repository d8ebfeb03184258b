import { linear, type Device, type Generator, type Tensor } from '../tensor';
import { denseInitStd, type Fans } from '../structure';
import { requirePositiveInteger } from './check';
import { LinearLayer } from './module';
import { matrix, VECTOR } from './muP';
import { allOrNothing, Parameter } from './parameter';

/** Options that every linear layer takes. */
export interface LinearOptions {
  /** Whether there is a bias (default true); it starts at zero. */
  bias?: boolean;
  /** Whether the layer starts as the zero map (last layer of a residual branch, head); default false. */
  zeroInit?: boolean;
  /** Fans of the same layer in the base model whose learning rate was tuned (μP); default: this layer's. */
  baseFans?: Fans;
  /** Source of the initial values (default: the global one, see `manualSeed`). */
  generator?: Generator;
  device?: Device;
}

/**
 * Dense layer y = W x + b. Initial standard deviation sqrt(min(1, dOut/dIn) / dIn), so that the layer keeps the
 * scale of its input at any width (μP, spectral form).
 */
export class Linear extends LinearLayer {
  readonly dIn: number;
  readonly dOut: number;
  /** [dOut, dIn] */
  readonly weight: Parameter;
  /** [dOut] or null */
  readonly bias: Parameter | null;

  constructor(dIn: number, dOut: number, options: LinearOptions = {}) {
    super();
    requirePositiveInteger('dIn', dIn);
    requirePositiveInteger('dOut', dOut);
    const { bias = true, zeroInit = false, baseFans, generator, device } = options;
    this.dIn = dIn;
    this.dOut = dOut;
    const info = matrix({ fanIn: dIn, fanOut: dOut }, baseFans);
    const parts = allOrNothing(() => ({
      weight: zeroInit
        ? Parameter.zeros([dOut, dIn], info, device)
        : Parameter.normal([dOut, dIn], denseInitStd(dIn, dOut), info, generator, device),
      bias: bias ? Parameter.zeros([dOut], VECTOR, device) : null,
    }));
    this.weight = parts.weight;
    this.bias = parts.bias;
  }

  /** @param x [..., dIn] @returns [..., dOut] */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }

  get macsPerToken(): number {
    return this.dIn * this.dOut;
  }
}
