import { groupedLinear, type Tensor } from '../tensor';
import { requirePositiveInteger } from './check';
import type { LinearOptions } from './linear';
import { Module } from './module';
import { VECTOR, type ParameterInfo } from './muP';
import { allOrNothing, Parameter } from './parameter';

export interface GroupedLinearOptions extends Pick<LinearOptions, 'generator' | 'device'> {
  /** Whether each expert has a bias (default false); it starts at zero. */
  bias?: boolean;
  /** Scale each expert's matrix down to this root mean square, with ε under the root (default: as it is). */
  normalize?: { rms: number; eps: number };
}

/** One matrix per expert, each applied to its own rows. */
export class GroupedLinear extends Module {
  /** [experts, dOut, dIn] */
  readonly weight: Parameter;
  /** [experts, dOut] or null */
  readonly bias: Parameter | null;
  readonly #normalize: { rms: number; eps: number } | undefined;

  /**
   * @param std standard deviation of the initial weights (0: zero)
   * @param info how the weights are trained
   */
  constructor(
    experts: number,
    dIn: number,
    dOut: number,
    std: number,
    info: ParameterInfo,
    options: GroupedLinearOptions = {},
  ) {
    super();
    requirePositiveInteger('experts', experts);
    requirePositiveInteger('dIn', dIn);
    requirePositiveInteger('dOut', dOut);
    const { bias = false, generator, device } = options;
    this.#normalize = options.normalize;
    const parts = allOrNothing(() => ({
      weight:
        std === 0
          ? Parameter.zeros([experts, dOut, dIn], info, device)
          : Parameter.normal([experts, dOut, dIn], std, info, generator, device),
      bias: bias ? Parameter.zeros([experts, dOut], VECTOR, device) : null,
    }));
    this.weight = parts.weight;
    this.bias = parts.bias;
  }

  /**
   * @param rows [rows, dIn], sorted by expert
   * @param offsets int32 [experts + 1], first row of each expert
   * @returns [rows, dOut]
   */
  forward(rows: Tensor, offsets: Tensor): Tensor {
    return this.tidied(() => groupedLinear(rows, this.#weights(), this.bias, offsets));
  }

  // The op that normalises takes one matrix; here each expert has its own root mean square.
  #weights(): Tensor {
    if (this.#normalize === undefined) return this.weight;
    const { rms, eps } = this.#normalize;
    const [experts, dOut, dIn] = this.weight.shape as [number, number, number];
    const meanSquare = this.weight
      .reshape([experts, dOut * dIn])
      .square()
      .mean(1);
    const divisor = meanSquare
      .add(eps)
      .sqrt()
      .mul(1 / rms)
      .maximum(1);
    return this.weight.div(divisor.reshape([experts, 1, 1]));
  }
}
