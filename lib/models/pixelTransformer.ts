import { EinlinearError } from '../errors';
import { concat, crossEntropy, embedding, type Tensor } from '../tensor';
import {
  allOrNothing,
  auxLoss,
  CausalSelfAttention,
  Embedding,
  embeddingInfo,
  gateStatistics,
  LayerNorm,
  Linear,
  Module,
  Parameter,
  type GateStatistics,
} from '../nn';
import { requireInt, requireValues } from '../tensor/checks';
import { parseStructure } from '../structure';
import {
  configError,
  rejectUnknownKeys,
  requireNonNegative,
  requirePositiveIntegers,
} from './config';
import { FeedForward } from './feedForward';
import type { MacsPerToken, ModelLoss, ModelOptions } from './gpt';

/** What defines a {@link PixelTransformer}; plain JSON. */
export interface PixelTransformerConfig {
  /** Height and width of an image, in pixels. */
  imageSize: number;
  /** Numbers per pixel (default 3). */
  channels?: number;
  /** Values of a number (default 256). */
  vocabSize?: number;
  /** Blocks. */
  depth: number;
  /** Width of the residual stream. */
  width: number;
  /** Attention heads per block, dividing the width. */
  heads: number;
  /** Width of the feed-forward block over `width` (default 4). */
  feedForwardExpansion?: number;
  /** Structure of the blocks' linear layers (default 'dense'); the head is dense. */
  structure?: string;
  /** Weight of the gates' mean auxiliary loss (default 0.01). */
  auxLossWeight?: number;
  /** Width at which learning rates were tuned (μP; default 64). */
  base?: { width: number };
}

/** A {@link PixelTransformerConfig} with every default filled in. */
export type ResolvedPixelTransformerConfig = Required<PixelTransformerConfig>;

const KEYS: readonly (keyof PixelTransformerConfig)[] = [
  'imageSize',
  'channels',
  'vocabSize',
  'depth',
  'width',
  'heads',
  'feedForwardExpansion',
  'structure',
  'auxLossWeight',
  'base',
];

/** Standard deviation of embedding, begin vector and positions. */
const EMBEDDING_STD = 0.02;

/** @throws EinlinearError INVALID_ARGUMENT naming the setting that is missing, unknown or out of range */
export function resolvePixelTransformerConfig(
  config: PixelTransformerConfig,
): ResolvedPixelTransformerConfig {
  rejectUnknownKeys('config', config, KEYS);
  const { imageSize, channels = 3, vocabSize = 256, depth, width, heads } = config;
  const { feedForwardExpansion = 4, structure = 'dense', auxLossWeight = 0.01 } = config;
  const { base = { width: 64 } } = config;
  requirePositiveIntegers({ imageSize, channels, vocabSize, depth, width, heads });
  requirePositiveIntegers({
    'feedForwardExpansion · width': feedForwardExpansion * width,
    'base.width': base.width,
  });
  requireNonNegative({ auxLossWeight });
  if (width % heads !== 0) throw configError('heads', `a divisor of the width ${width}`, heads);
  if (parseStructure(structure).kind === 'moe') {
    throw configError('structure', 'a structure of one linear layer', structure);
  }
  return {
    imageSize,
    channels,
    vocabSize,
    depth,
    width,
    heads,
    feedForwardExpansion,
    structure,
    auxLossWeight,
    base,
  };
}

/** One pre-norm block: x += attention(norm(x)); x += feedForward(norm(x)). */
export class PixelTransformerBlock extends Module {
  readonly norm1: LayerNorm;
  readonly attention: CausalSelfAttention;
  readonly norm2: LayerNorm;
  readonly feedForward: FeedForward;

  constructor(config: ResolvedPixelTransformerConfig, options: ModelOptions = {}) {
    super();
    const { width, heads, structure, feedForwardExpansion, base } = config;
    const { generator, device } = options;
    this.norm1 = new LayerNorm(width, { device });
    this.attention = new CausalSelfAttention(width, {
      structure,
      heads,
      outputBias: true,
      qkNormBias: true,
      zeroInitQuery: true,
      zeroInit: true,
      baseDModel: base.width,
      generator,
      device,
    });
    this.norm2 = new LayerNorm(width, { device });
    this.feedForward = new FeedForward(width, {
      up: structure,
      down: structure,
      hidden: width * feedForwardExpansion,
      bias: true,
      gelu: 'none',
      dropout: 0,
      baseDModel: base.width,
      baseHidden: base.width * feedForwardExpansion,
      generator,
      device,
    });
  }

  /** @param x [batch, time, width] @returns the same shape */
  forward(x: Tensor): Tensor {
    return this.tidied(() => {
      const attended = this.attention.forward(this.norm1.forward(x));
      const mixed = x.add(attended);
      return mixed.add(this.feedForward.forward(this.norm2.forward(mixed)));
    });
  }
}

/**
 * Causal transformer over the numbers of an image, each predicted from those before it; a learned begin vector stands
 * before the first (the paper's model of images).
 */
export class PixelTransformer extends Module {
  readonly config: ResolvedPixelTransformerConfig;
  /** Vector before the first number, [width]. */
  readonly begin: Parameter;
  /** [numbers + 1, width] */
  readonly positions: Parameter;
  readonly embedding: Embedding;
  readonly blocks: readonly PixelTransformerBlock[];
  readonly finalNorm: LayerNorm;
  readonly head: Linear;

  /** @throws EinlinearError INVALID_ARGUMENT, NOT_FACTORABLE, OUT_OF_RANGE (k beyond the experts) */
  constructor(config: PixelTransformerConfig, options: ModelOptions = {}) {
    super();
    this.config = resolvePixelTransformerConfig(config);
    const { width, vocabSize, depth, base } = this.config;
    const { generator, device } = options;
    const info = embeddingInfo(width, base.width);
    const table = [this.sequenceLength + 1, width];
    const parts = allOrNothing(() => ({
      begin: Parameter.normal([width], EMBEDDING_STD, info, generator, device),
      positions: Parameter.normal(table, EMBEDDING_STD, info, generator, device),
      embedding: new Embedding(vocabSize, width, {
        std: EMBEDDING_STD,
        baseWidth: base.width,
        generator,
        device,
      }),
      blocks: Array.from({ length: depth }, () => new PixelTransformerBlock(this.config, options)),
      finalNorm: new LayerNorm(width, { device }),
      head: new Linear(width, vocabSize, {
        zeroInit: true,
        baseFans: { fanIn: base.width, fanOut: vocabSize },
        device,
      }),
    }));
    this.begin = parts.begin;
    this.positions = parts.positions;
    this.embedding = parts.embedding;
    this.blocks = parts.blocks;
    this.finalNorm = parts.finalNorm;
    this.head = parts.head;
  }

  /** Numbers in an image: imageSize² · channels. */
  get sequenceLength(): number {
    return this.config.imageSize ** 2 * this.config.channels;
  }

  /**
   * Logits of each number given those before it, and of one more after the last.
   *
   * @param image int32 [batch, sequenceLength] or [batch, height, width, channels], numbers in [0, vocabSize)
   * @returns [batch, sequenceLength + 1, vocabSize]
   * @throws EinlinearError SHAPE_MISMATCH, DTYPE_MISMATCH, OUT_OF_RANGE
   */
  forward(image: Tensor): Tensor {
    const { width } = this.config;
    return this.tidied(() => {
      const ids = this.#sequence(image);
      const batch = ids.shape[0] ?? 0;
      const begin = this.begin.reshape([1, 1, width]).expand([batch, 1, width]);
      const x = concat([begin, embedding(ids, this.embedding.weight)], 1).add(this.positions);
      const y = this.blocks.reduce((value, block) => block.forward(value), x);
      return this.head.forward(this.finalNorm.forward(y));
    });
  }

  /**
   * Training loss of a batch of images; the output after the last number is dropped.
   *
   * @param image as `forward` takes it
   * @throws EinlinearError SHAPE_MISMATCH, DTYPE_MISMATCH, OUT_OF_RANGE
   */
  loss(image: Tensor): ModelLoss {
    return this.tidied(() => {
      const ids = this.#sequence(image);
      const logits = this.forward(ids).slice(1, 0, this.sequenceLength);
      const entropy = crossEntropy(logits, ids);
      const auxiliary = auxLoss(this);
      const total =
        auxiliary === null ? entropy : entropy.add(auxiliary.mul(this.config.auxLossWeight));
      return { total, crossEntropy: entropy, auxiliary };
    });
  }

  /** How every gate used its experts in the last forward. */
  gateStatistics(): Promise<GateStatistics[]> {
    return gateStatistics(this);
  }

  /** Multiply-accumulates of the forward pass for one position, embeddings excluded, gates included. */
  macsPerToken(): MacsPerToken {
    const { width, vocabSize, depth } = this.config;
    const attention = depth * 2 * (this.sequenceLength + 1) * width;
    const linear = this.blocks.reduce(
      (sum, block) => sum + block.attention.macsPerToken(0) + block.feedForward.macsPerToken,
      0,
    );
    const head = width * vocabSize;
    const nonEmbedding = linear + attention;
    return { total: nonEmbedding + head, nonEmbedding, linear, attention, head };
  }

  #sequence(image: Tensor): Tensor {
    const { imageSize, channels, vocabSize } = this.config;
    requireInt('image', image);
    requireValues('image', image, 0, vocabSize - 1);
    const [batch = 0, ...rest] = image.shape;
    const wanted = [`${this.sequenceLength}`, `${imageSize},${imageSize},${channels}`];
    if (!wanted.includes(rest.join())) {
      throw new EinlinearError(
        'SHAPE_MISMATCH',
        `Expected images of shape [batch, ${this.sequenceLength}] or ` +
          `[batch, ${imageSize}, ${imageSize}, ${channels}], got [${image.shape.join(', ')}]`,
        { shape: image.shape },
      );
    }
    return image.ndim === 2 ? image : image.reshape([batch, this.sequenceLength]);
  }
}
