import { embedding, type Device, type Generator, type Tensor } from '../tensor';
import { requirePositiveInteger } from './check';
import { UnaryModule } from './module';
import { embeddingInfo } from './muP';
import { Parameter } from './parameter';

export interface EmbeddingOptions {
  /** Standard deviation of the initial values (default 0.02). */
  std?: number;
  /** Width of the table in the base model (μP; matters for SGD only). */
  baseWidth?: number;
  generator?: Generator;
  device?: Device;
}

/** Table of vectors, one for each of `count` ids. Its Adam learning rate does not change with the width. */
export class Embedding extends UnaryModule {
  readonly count: number;
  readonly width: number;
  /** [count, width] */
  readonly weight: Parameter;

  constructor(count: number, width: number, options: EmbeddingOptions = {}) {
    super();
    requirePositiveInteger('count', count);
    requirePositiveInteger('width', width);
    const { std = 0.02, baseWidth = width, generator, device } = options;
    this.count = count;
    this.width = width;
    const info = embeddingInfo(width, baseWidth);
    this.weight = Parameter.normal([count, width], std, info, generator, device);
  }

  /**
   * @param ids int32 [...], each in [0, count)
   * @returns [..., width]
   * @throws EinlinearError OUT_OF_RANGE for an id outside the table (later, where it is known on the device only)
   */
  forward(ids: Tensor): Tensor {
    return embedding(ids, this.weight);
  }
}
