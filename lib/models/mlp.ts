import { requireArray, requireBooleans } from '../checks';
import { embedding, gelu, mseLoss, tensor, type Tensor } from '../tensor';
import {
  allOrNothing,
  auxLoss,
  createLinear,
  gateStatistics,
  LayerNorm,
  Linear,
  UnaryModule,
  type GateStatistics,
  type LinearLayer,
} from '../nn';
import { requireFloat, requireLastAxis, requireShape } from '../tensor/checks';
import { parseStructure } from '../structure';
import {
  configError,
  rejectUnknownKeys,
  requireNonNegative,
  requirePositiveIntegers,
} from './config';
import type { ModelOptions } from './gpt';

/** What defines an {@link MLP}; plain JSON. */
export interface MLPConfig {
  /** Input features. */
  dIn: number;
  /** Output features. */
  dOut: number;
  /** Residual blocks. */
  depth: number;
  /** Width of the residual stream. */
  width: number;
  /** Width within a block over `width` (default 4). */
  expansion?: number;
  /** Structure of the blocks' layers (default 'dense'); the first and last layer are dense. */
  structure?: string;
  /** Whether linear layers have biases (default true); norms always have. */
  bias?: boolean;
  /** Input feature i of the first layer is feature permutation[i] of the input (default: no permutation). */
  permutation?: readonly number[] | null;
  /** Weight of the gates' mean auxiliary loss (default 0.01). */
  auxLossWeight?: number;
  /** Width at which learning rates were tuned (μP; default 64). */
  base?: { width: number };
}

/** An {@link MLPConfig} with every default filled in. */
export type ResolvedMLPConfig = Required<MLPConfig>;

/** Training loss of an {@link MLP} and its parts, scalars on the tape. */
export interface MLPLoss {
  /** What to minimise: meanSquaredError + auxLossWeight · auxiliary. */
  total: Tensor;
  meanSquaredError: Tensor;
  /** Mean auxiliary loss of the gates; null without gates. */
  auxiliary: Tensor | null;
}

const KEYS: readonly (keyof MLPConfig)[] = [
  'dIn',
  'dOut',
  'depth',
  'width',
  'expansion',
  'structure',
  'bias',
  'permutation',
  'auxLossWeight',
  'base',
];

/** @throws EinlinearError INVALID_ARGUMENT naming the setting that is missing, unknown or out of range */
export function resolveMLPConfig(config: MLPConfig): ResolvedMLPConfig {
  rejectUnknownKeys('config', config, KEYS);
  const { dIn, dOut, depth, width, expansion = 4, auxLossWeight = 0.01 } = config;
  const { structure = 'dense', bias = true, permutation = null, base = { width: 64 } } = config;
  requirePositiveIntegers({ dIn, dOut, depth, width, 'expansion · width': expansion * width });
  requirePositiveIntegers({ 'base.width': base.width });
  requireNonNegative({ auxLossWeight });
  requireBooleans({ bias });
  if (parseStructure(structure).kind === 'moe') {
    throw configError('structure', 'a structure of one linear layer', structure);
  }
  if (permutation !== null) requireArray('permutation', permutation);
  const sorted = permutation === null ? null : [...permutation].sort((a, b) => a - b);
  if (sorted !== null && (sorted.length !== dIn || sorted.some((value, i) => value !== i))) {
    throw configError('permutation', `an order of the numbers 0 to ${dIn - 1}`, permutation);
  }
  return {
    dIn,
    dOut,
    depth,
    width,
    expansion,
    structure,
    bias,
    permutation,
    auxLossWeight,
    base,
  };
}

/** x + down(GELU(up(norm(x)))) */
export class MLPBlock extends UnaryModule {
  readonly norm: LayerNorm;
  readonly up: LinearLayer;
  readonly down: LinearLayer;

  constructor(config: ResolvedMLPConfig, options: ModelOptions = {}) {
    super();
    const { width, expansion, structure, bias, base } = config;
    const { generator, device } = options;
    const hidden = width * expansion;
    const baseHidden = base.width * expansion;
    this.norm = new LayerNorm(width, { device });
    this.up = createLinear(structure, width, hidden, {
      bias,
      baseFans: { fanIn: base.width, fanOut: baseHidden },
      generator,
      device,
    });
    this.down = createLinear(structure, hidden, width, {
      bias,
      zeroInit: true,
      baseFans: { fanIn: baseHidden, fanOut: base.width },
      generator,
      device,
    });
  }

  /** @param x [..., width] @returns the same shape */
  forward(x: Tensor): Tensor {
    return this.tidied(() => {
      const hidden = gelu(this.up.forward(this.norm.forward(x)));
      return x.add(this.down.forward(hidden));
    });
  }
}

/** Residual network for regression: the student of the paper's synthetic task (appendix on experiment details). */
export class MLP extends UnaryModule {
  readonly config: ResolvedMLPConfig;
  readonly input: Linear;
  readonly inputNorm: LayerNorm;
  readonly blocks: readonly MLPBlock[];
  readonly head: Linear;

  /** @throws EinlinearError INVALID_ARGUMENT, NOT_FACTORABLE, OUT_OF_RANGE (k beyond the experts) */
  constructor(config: MLPConfig, options: ModelOptions = {}) {
    super();
    this.config = resolveMLPConfig(config);
    const { dIn, dOut, depth, width, bias, base } = this.config;
    const { generator, device } = options;
    const parts = allOrNothing(() => ({
      input: new Linear(dIn, width, {
        bias,
        baseFans: { fanIn: dIn, fanOut: base.width },
        generator,
        device,
      }),
      inputNorm: new LayerNorm(width, { device }),
      blocks: Array.from({ length: depth }, () => new MLPBlock(this.config, options)),
      head: new Linear(width, dOut, {
        bias,
        zeroInit: true,
        baseFans: { fanIn: base.width, fanOut: dOut },
        device,
      }),
    }));
    this.input = parts.input;
    this.inputNorm = parts.inputNorm;
    this.blocks = parts.blocks;
    this.head = parts.head;
  }

  /**
   * @param x [..., dIn]
   * @returns [..., dOut]
   * @throws EinlinearError SHAPE_MISMATCH, DTYPE_MISMATCH
   */
  forward(x: Tensor): Tensor {
    this.#requireInput(x);
    return this.tidied(() => {
      const input = this.inputNorm.forward(gelu(this.input.forward(this.#permuted(x))));
      return this.head.forward(this.blocks.reduce((value, block) => block.forward(value), input));
    });
  }

  /**
   * @param x [..., dIn]
   * @param target [..., dOut]
   * @throws EinlinearError SHAPE_MISMATCH, DTYPE_MISMATCH
   */
  loss(x: Tensor, target: Tensor): MLPLoss {
    this.#requireInput(x);
    requireFloat('target', target);
    requireShape('target', target, [...x.shape.slice(0, -1), this.config.dOut]);
    return this.tidied(() => {
      const meanSquaredError = mseLoss(this.forward(x), target);
      const auxiliary = auxLoss(this);
      const total =
        auxiliary === null
          ? meanSquaredError
          : meanSquaredError.add(auxiliary.mul(this.config.auxLossWeight));
      return { total, meanSquaredError, auxiliary };
    });
  }

  /** How every gate used its experts in the last forward. */
  gateStatistics(): Promise<GateStatistics[]> {
    return gateStatistics(this);
  }

  /** Multiply-accumulates of the forward pass for one sample, gates included. */
  macsPerToken(): number {
    const { dIn, dOut, width } = this.config;
    return this.blocks.reduce(
      (sum, block) => sum + block.up.macsPerToken + block.down.macsPerToken,
      dIn * width + width * dOut,
    );
  }

  #requireInput(x: Tensor): void {
    requireFloat('x', x);
    requireLastAxis('x', x, this.config.dIn, 'dIn');
  }

  // Feature columns are picked as rows of the transpose, which passes a gradient to x.
  #permuted(x: Tensor): Tensor {
    const { permutation, dIn } = this.config;
    if (permutation === null) return x;
    const order = tensor(Int32Array.from(permutation), { dtype: 'int32', device: x.device });
    const columns = x.reshape([-1, dIn]).transpose(0, 1);
    return embedding(order, columns).transpose(0, 1).reshape(x.shape);
  }
}
