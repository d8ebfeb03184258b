import { dropout, type Generator, type Tensor } from '../tensor';
import { requireInRange } from './check';
import { UnaryModule } from './module';

/** In training, zeroes each element with probability p and scales the others by 1 / (1 − p). */
export class Dropout extends UnaryModule {
  readonly #generator: Generator | undefined;

  /**
   * @param p probability of dropping an element, 0 <= p < 1
   * @param generator source of the masks (default: the global one)
   */
  constructor(
    readonly p = 0.5,
    generator?: Generator,
  ) {
    super();
    requireInRange('p', p, 0, 1);
    this.#generator = generator;
  }

  /** @param x any shape @returns the same shape */
  forward(x: Tensor): Tensor {
    if (!this.training || this.p === 0) return x;
    return dropout(x, this.p, { training: true, generator: this.#generator });
  }
}
