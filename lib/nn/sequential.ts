import type { Tensor } from '../tensor';
import { UnaryModule } from './module';

/** Modules applied one after another. Their parameters are named `layers.0`, `layers.1`, … */
export class Sequential extends UnaryModule {
  readonly layers: readonly UnaryModule[];

  constructor(...layers: UnaryModule[]) {
    super();
    this.layers = layers;
  }

  forward(x: Tensor): Tensor {
    return this.tidied(() => this.layers.reduce((value, layer) => layer.forward(value), x));
  }
}
