import { requireBooleans } from '../checks';
import { EinlinearError } from '../errors';
import {
  crossEntropy,
  dropout,
  embedding,
  linear,
  type Device,
  type Generator,
  type Tensor,
} from '../tensor';
import { requireAxes, requireInt, requireShape, requireValues } from '../tensor/checks';
import { parseStructure, type Structure } from '../structure';
import {
  allOrNothing,
  auxLoss,
  CausalSelfAttention,
  createLinear,
  Embedding,
  gateStatistics,
  LayerNorm,
  MoE,
  Module,
  type GateStatistics,
  type LinearLayer,
} from '../nn';
import {
  configError,
  rejectUnknownKeys,
  requireNonNegative,
  requirePositiveIntegers,
} from './config';
import { FeedForward } from './feedForward';

/** The linear layers of a GPT that can each have a structure of their own. */
export type GPTLayerName = 'query' | 'key' | 'value' | 'attentionOutput' | 'up' | 'down' | 'head';

/** What defines a GPT. Everything in it is plain JSON, so that a checkpoint can hold it. */
export interface GPTConfig {
  /** Number of different tokens. */
  vocabSize: number;
  /** Longest sequence, in tokens. */
  contextLength: number;
  /** Number of blocks. */
  layers: number;
  /** Width of the residual stream. */
  dModel: number;
  /** Attention heads per block; default dModel / headDim. */
  heads?: number;
  /** Width of a head; default dModel / heads. One of the two must be given. */
  headDim?: number;
  /** Width of the feed-forward block over dModel (default 4). */
  feedForwardExpansion?: number;
  /**
   * Structure of every linear layer but the head (default 'dense'); 'moe:…' is a mixture of experts over the
   * feed-forward block with dense layers elsewhere.
   */
  structure?: string;
  /** Structures that differ from `structure`, by layer; the head is dense unless named here. */
  structures?: Partial<Record<GPTLayerName, string>>;
  /** Whether linear layers and norms have biases (default false). */
  bias?: boolean;
  /** Whether queries and keys are normalised per head (default true). */
  qkNorm?: boolean;
  /** Factor on q·k: 'muP' is 8 / headDim (default), 'standard' is 1 / sqrt(headDim). */
  attentionScale?: 'muP' | 'standard' | number;
  /** Form of the GELU (default 'none': erf). */
  gelu?: 'none' | 'tanh';
  /** Whether the head is the token embedding (default false); otherwise it starts at zero. */
  tiedHead?: boolean;
  /** Factor on the output of every branch (default sqrt(3 / layers): depth μP). */
  branchMultiplier?: number;
  /** Probability of dropping a feature or an attention weight in training (default 0). */
  dropout?: number;
  /** Weight of the gates' mean auxiliary loss in the training loss (default 0.01). */
  auxLossWeight?: number;
  /** Widths of the model at which learning rates were tuned (μP; default dModel 768, expansion 1). */
  base?: { dModel: number; feedForwardExpansion: number };
}

/** A {@link GPTConfig} with every default filled in. */
export type ResolvedGPTConfig = Required<GPTConfig>;

/** The settings that make a GPT the architecture of GPT-2 (Radford et al., 2019). */
export const GPT2: Readonly<
  Pick<
    ResolvedGPTConfig,
    'bias' | 'qkNorm' | 'attentionScale' | 'gelu' | 'tiedHead' | 'branchMultiplier'
  >
> = {
  bias: true,
  qkNorm: false,
  attentionScale: 'standard',
  gelu: 'tanh',
  tiedHead: true,
  branchMultiplier: 1,
};

/** Where a model gets its initial values and lives. */
export interface ModelOptions {
  /** Source of the initial values (default: the global one, see `manualSeed`). */
  generator?: Generator;
  /** Source of dropout masks (default: the global one). */
  dropoutGenerator?: Generator;
  device?: Device;
}

/** The training loss and its parts, scalars on the tape. */
export interface ModelLoss {
  /** What to minimise: crossEntropy + auxLossWeight · auxiliary. */
  total: Tensor;
  /** Mean cross-entropy of the next token, in nats. */
  crossEntropy: Tensor;
  /** Mean auxiliary loss of the gates; null without gates. */
  auxiliary: Tensor | null;
}

/** Multiply-accumulates of the forward pass for one token. */
export interface MacsPerToken {
  /** The whole model but the embedding. */
  total: number;
  /** Without the head as well ("non-embedding compute"). */
  nonEmbedding: number;
  /** The linear layers of the blocks, gates included. */
  linear: number;
  /** Attention itself: 2 · time · heads · headDim per layer, the causal half not discounted. */
  attention: number;
  /** The head. */
  head: number;
}

const KEYS: readonly (keyof GPTConfig)[] = [
  'vocabSize',
  'contextLength',
  'layers',
  'dModel',
  'heads',
  'headDim',
  'feedForwardExpansion',
  'structure',
  'structures',
  'bias',
  'qkNorm',
  'attentionScale',
  'gelu',
  'tiedHead',
  'branchMultiplier',
  'dropout',
  'auxLossWeight',
  'base',
];

const LAYER_NAMES: readonly GPTLayerName[] = [
  'query',
  'key',
  'value',
  'attentionOutput',
  'up',
  'down',
  'head',
];

/**
 * Fills in the defaults of a configuration.
 *
 * @throws EinlinearError INVALID_ARGUMENT naming the setting that is missing, unknown, out of range or
 *   contradicts another; OUT_OF_RANGE for a k beyond the experts
 */
export function resolveGPTConfig(config: GPTConfig): ResolvedGPTConfig {
  rejectUnknownKeys('config', config, KEYS);
  const { vocabSize, contextLength, layers, dModel, feedForwardExpansion = 4 } = config;
  requirePositiveIntegers({ vocabSize, contextLength, layers, dModel });
  requireNonNegative({ feedForwardExpansion });
  requirePositiveIntegers({ 'feedForwardExpansion · dModel': feedForwardExpansion * dModel });
  if (config.heads === undefined && config.headDim === undefined) {
    throw configError('heads or headDim', 'given', null);
  }
  const heads = config.heads ?? dModel / (config.headDim as number);
  const headDim = config.headDim ?? dModel / heads;
  if (!Number.isSafeInteger(heads) || heads < 1 || !Number.isSafeInteger(headDim) || headDim < 1) {
    throw configError('heads and headDim', `positive integers dividing dModel ${dModel}`, {
      heads: config.heads,
      headDim: config.headDim,
    });
  }
  const { attentionScale = 'muP', gelu = 'none', dropout: drop = 0 } = config;
  if (typeof attentionScale === 'string' && !['muP', 'standard'].includes(attentionScale)) {
    throw configError('attentionScale', `'muP', 'standard' or a number`, attentionScale);
  }
  if (!['none', 'tanh'].includes(gelu)) throw configError('gelu', `'none' or 'tanh'`, gelu);
  if (!(drop >= 0 && drop < 1)) throw configError('dropout', 'at least 0 and less than 1', drop);
  const { branchMultiplier = Math.sqrt(3 / layers), auxLossWeight = 0.01 } = config;
  requireNonNegative({ branchMultiplier, auxLossWeight });
  const base = config.base ?? { dModel: 768, feedForwardExpansion: 1 };
  requirePositiveIntegers({ 'base.dModel': base.dModel });
  requirePositiveIntegers({
    'base.dModel · base.feedForwardExpansion': base.dModel * base.feedForwardExpansion,
  });
  const { structure = 'dense', structures = {} } = config;
  const { bias = false, qkNorm = true, tiedHead = false } = config;
  requireBooleans({ bias, qkNorm, tiedHead });
  rejectUnknownKeys('structures', structures, LAYER_NAMES);
  for (const [name, text] of Object.entries(structures)) {
    if (parseStructure(text).kind === 'moe') {
      throw configError(`structures.${name}`, `a structure of one linear layer`, text);
    }
  }
  if (
    parseStructure(structure).kind === 'moe' &&
    (structures.up ?? structures.down) !== undefined
  ) {
    throw configError(
      'structures',
      `without up and down beside structure '${structure}'`,
      structures,
    );
  }
  if (tiedHead && structures.head !== undefined) {
    throw configError('structures.head', 'absent in a model with tiedHead', structures.head);
  }
  return {
    vocabSize,
    contextLength,
    layers,
    dModel,
    heads,
    headDim,
    feedForwardExpansion,
    structure,
    structures,
    bias,
    qkNorm,
    attentionScale,
    gelu,
    tiedHead,
    branchMultiplier,
    dropout: drop,
    auxLossWeight,
    base,
  };
}

/** One pre-norm block: x += m · attention(norm(x)); x += m · feedForward(norm(x)). */
export class GPTBlock extends Module {
  readonly norm1: LayerNorm;
  readonly attention: CausalSelfAttention;
  readonly norm2: LayerNorm;
  readonly feedForward: FeedForward | MoE;
  readonly branchMultiplier: number;

  constructor(config: ResolvedGPTConfig, options: ModelOptions = {}) {
    super();
    const { dModel, bias, heads, headDim, qkNorm, base, structures } = config;
    const { generator, dropoutGenerator, device } = options;
    const structure: Structure = parseStructure(config.structure);
    const elsewhere = structure.kind === 'moe' ? 'dense' : structure;
    const hidden = dModel * config.feedForwardExpansion;
    const baseHidden = base.dModel * base.feedForwardExpansion;
    this.branchMultiplier = config.branchMultiplier;
    this.norm1 = new LayerNorm(dModel, { bias, device });
    this.attention = new CausalSelfAttention(dModel, {
      structure: {
        query: structures.query ?? elsewhere,
        key: structures.key ?? elsewhere,
        value: structures.value ?? elsewhere,
        output: structures.attentionOutput ?? elsewhere,
      },
      heads,
      headDim,
      bias,
      qkNorm,
      qkNormBias: bias,
      scale: config.attentionScale,
      dropout: config.dropout,
      zeroInit: true,
      baseDModel: base.dModel,
      generator,
      dropoutGenerator,
      device,
    });
    this.norm2 = new LayerNorm(dModel, { bias, device });
    const shared = {
      hidden,
      bias,
      gelu: config.gelu,
      dropout: config.dropout,
      generator,
      dropoutGenerator,
      device,
    };
    this.feedForward =
      structure.kind === 'moe'
        ? new MoE(dModel, {
            ...shared,
            experts: structure.experts,
            k: structure.k,
            zeroInit: true,
            baseFans: { fanIn: base.dModel, fanOut: baseHidden },
          })
        : new FeedForward(dModel, {
            ...shared,
            up: structures.up ?? elsewhere,
            down: structures.down ?? elsewhere,
            baseDModel: base.dModel,
            baseHidden,
          });
  }

  /** @param x [batch, time, dModel] @returns the same shape */
  forward(x: Tensor): Tensor {
    const m = this.branchMultiplier;
    const scaled = (y: Tensor): Tensor => (m === 1 ? y : y.mul(m));
    return this.tidied(() => {
      const attended = this.attention.forward(this.norm1.forward(x));
      const mixed = x.add(scaled(attended));
      return mixed.add(scaled(this.feedForward.forward(this.norm2.forward(mixed))));
    });
  }
}

/**
 * Decoder-only transformer with learned positions, pre-norm blocks and any structure in its linear layers. The
 * defaults are the model of "Searching for Efficient Linear Layers…" (section 4.1); {@link GPT2} is another.
 */
export class GPT extends Module {
  readonly config: ResolvedGPTConfig;
  readonly tokenEmbedding: Embedding;
  readonly positionEmbedding: Embedding;
  readonly blocks: readonly GPTBlock[];
  readonly finalNorm: LayerNorm;
  /** Null where the token embedding is the head. */
  readonly head: LinearLayer | null;
  readonly #dropoutGenerator: Generator | undefined;

  /** @throws EinlinearError INVALID_ARGUMENT, NOT_FACTORABLE, OUT_OF_RANGE (k beyond the experts) */
  constructor(config: GPTConfig, options: ModelOptions = {}) {
    super();
    this.config = resolveGPTConfig(config);
    const { vocabSize, contextLength, layers, dModel, bias, base } = this.config;
    const { generator, device } = options;
    this.#dropoutGenerator = options.dropoutGenerator;
    const table = { baseWidth: base.dModel, generator, device };
    const parts = allOrNothing(() => ({
      tokenEmbedding: new Embedding(vocabSize, dModel, table),
      positionEmbedding: new Embedding(contextLength, dModel, table),
      blocks: Array.from({ length: layers }, () => new GPTBlock(this.config, options)),
      finalNorm: new LayerNorm(dModel, { bias, device }),
      head: this.config.tiedHead
        ? null
        : createLinear(this.config.structures.head ?? 'dense', dModel, vocabSize, {
            bias: false,
            zeroInit: true,
            baseFans: { fanIn: base.dModel, fanOut: vocabSize },
            generator,
            device,
          }),
    }));
    this.tokenEmbedding = parts.tokenEmbedding;
    this.positionEmbedding = parts.positionEmbedding;
    this.blocks = parts.blocks;
    this.finalNorm = parts.finalNorm;
    this.head = parts.head;
  }

  /**
   * Logits of the next token at every position.
   *
   * @param ids int32 [batch, time], time at most contextLength, each id in [0, vocabSize)
   * @returns [batch, time, vocabSize]
   * @throws EinlinearError SHAPE_MISMATCH, DTYPE_MISMATCH, OUT_OF_RANGE
   */
  forward(ids: Tensor): Tensor {
    this.#requireIds(ids);
    return this.tidied(() => {
      const x = this.#features(ids);
      return this.head === null
        ? linear(x, this.tokenEmbedding.weight, null)
        : this.head.forward(x);
    });
  }

  /**
   * Training loss of a batch.
   *
   * @param ids int32 [batch, time]
   * @param targets int32 [batch, time], the token that follows each of `ids`; −1 does not count
   * @throws EinlinearError SHAPE_MISMATCH, DTYPE_MISMATCH, OUT_OF_RANGE
   */
  loss(ids: Tensor, targets: Tensor): ModelLoss {
    this.#requireIds(ids);
    requireInt('targets', targets);
    requireShape('targets', targets, ids.shape, ['batch', 'time']);
    requireValues('targets', targets, -1, this.config.vocabSize - 1);
    return this.tidied(() => {
      const entropy = crossEntropy(this.forward(ids), targets, { ignoreIndex: -1 });
      const auxiliary = auxLoss(this);
      const total =
        auxiliary === null ? entropy : entropy.add(auxiliary.mul(this.config.auxLossWeight));
      return { total, crossEntropy: entropy, auxiliary };
    });
  }

  /** Mean auxiliary loss of the gates at the last forward, or null without gates. */
  auxLoss(): Tensor | null {
    return auxLoss(this);
  }

  /** How every gate used its experts in the last forward. */
  gateStatistics(): Promise<GateStatistics[]> {
    return gateStatistics(this);
  }

  /**
   * Multiply-accumulates of the forward pass for one token, as the paper counts them: embeddings, norms and
   * activations excluded, mixtures at their active share, gates included.
   *
   * @param time tokens in the sequence (default contextLength)
   */
  macsPerToken(time = this.config.contextLength): MacsPerToken {
    const { heads, headDim, dModel, vocabSize, layers } = this.config;
    const attention = layers * 2 * time * heads * headDim;
    const linears = this.blocks.reduce(
      (sum, block) => sum + block.attention.macsPerToken(0) + block.feedForward.macsPerToken,
      0,
    );
    const head = this.head === null ? dModel * vocabSize : this.head.macsPerToken;
    const nonEmbedding = linears + attention;
    return { total: nonEmbedding + head, nonEmbedding, linear: linears, attention, head };
  }

  /** Parameters without the two embeddings (and so without a tied head). */
  nonEmbeddingParameterCount(): number {
    return (
      this.parameterCount() -
      this.tokenEmbedding.parameterCount() -
      this.positionEmbedding.parameterCount()
    );
  }

  #requireIds(ids: Tensor): void {
    const { contextLength, vocabSize } = this.config;
    requireInt('ids', ids);
    requireAxes('ids', ids, ['batch', 'time']);
    requireValues('ids', ids, 0, vocabSize - 1);
    const time = ids.shape[1];
    if (time > contextLength) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected sequences of at most ${contextLength} tokens (contextLength), got ${time}`,
        { time, contextLength },
      );
    }
  }

  #features(ids: Tensor): Tensor {
    const { dropout: p } = this.config;
    const positions = this.positionEmbedding.weight.slice(0, 0, ids.shape[1]);
    const embedded = embedding(ids, this.tokenEmbedding.weight).add(positions);
    const x =
      this.training && p > 0
        ? dropout(embedded, p, { training: true, generator: this.#dropoutGenerator })
        : embedded;
    return this.finalNorm.forward(this.blocks.reduce((value, block) => block.forward(value), x));
  }
}
