import { requireObject } from '../checks';
import { dropout, gelu, type Device, type Generator, type Tensor } from '../tensor';
import type { Structure } from '../structure';
import { allOrNothing, createLinear, UnaryModule, type LinearLayer } from '../nn';

export interface FeedForwardOptions {
  up: Structure | string;
  down: Structure | string;
  hidden: number;
  bias: boolean;
  gelu: 'none' | 'tanh';
  dropout: number;
  baseDModel: number;
  baseHidden: number;
  generator?: Generator;
  dropoutGenerator?: Generator;
  device?: Device;
}

/** down(GELU(up(x))), starting as the zero map. */
export class FeedForward extends UnaryModule {
  readonly up: LinearLayer;
  readonly down: LinearLayer;
  readonly #options: FeedForwardOptions;

  constructor(dModel: number, options: FeedForwardOptions) {
    super();
    requireObject('options', options);
    const { hidden, bias, baseDModel, baseHidden, generator, device } = options;
    this.#options = options;
    const parts = allOrNothing(() => ({
      up: createLinear(options.up, dModel, hidden, {
        bias,
        baseFans: { fanIn: baseDModel, fanOut: baseHidden },
        generator,
        device,
      }),
      down: createLinear(options.down, hidden, dModel, {
        bias,
        zeroInit: true,
        baseFans: { fanIn: baseHidden, fanOut: baseDModel },
        generator,
        device,
      }),
    }));
    this.up = parts.up;
    this.down = parts.down;
  }

  get macsPerToken(): number {
    return this.up.macsPerToken + this.down.macsPerToken;
  }

  /** @param x [..., dModel] @returns [..., dModel] */
  forward(x: Tensor): Tensor {
    return this.tidied(() => {
      const hidden = gelu(this.up.forward(x), { approximate: this.#options.gelu });
      const y = this.down.forward(hidden);
      if (!this.training || this.#options.dropout === 0) return y;
      return dropout(y, this.#options.dropout, {
        training: true,
        generator: this.#options.dropoutGenerator,
      });
    });
  }
}
