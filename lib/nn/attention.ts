import {
  attention,
  dropout,
  softmax,
  tensor,
  type Device,
  type Generator,
  type Tensor,
} from '../tensor';
import { requireAxes, requireFloat, requireLastAxis } from '../tensor/checks';
import { EinlinearError } from '../errors';
import type { Structure } from '../structure';
import { requireObject } from '../checks';
import { requireInRange, requirePositiveInteger } from './check';
import { createLinear } from './createLinear';
import { LayerNorm } from './layerNorm';
import { Module, type LinearLayer } from './module';
import { allOrNothing } from './parameter';

/** Structures of the four projections of an attention block. */
export interface AttentionStructures {
  query: Structure | string;
  key: Structure | string;
  value: Structure | string;
  output: Structure | string;
}

export interface CausalSelfAttentionOptions {
  /** Structure of all four projections, or of each (default 'dense'). */
  structure?: Structure | string | AttentionStructures;
  /** Number of heads. */
  heads: number;
  /** Width of a head (default dModel / heads). */
  headDim?: number;
  /** Whether query, key and value projections have biases (default false). */
  bias?: boolean;
  /** Whether the output projection has one (default: as `bias`). */
  outputBias?: boolean;
  /** Whether queries and keys are normalised per head (default true). */
  qkNorm?: boolean;
  /** Whether those norms have a bias beside the gain (default false). */
  qkNormBias?: boolean;
  /** Factor on q·k: 'muP' is 8 / headDim (default), 'standard' is 1 / sqrt(headDim). */
  scale?: 'muP' | 'standard' | number;
  /** Probability of dropping an attention weight, or an output feature, in training (default 0). */
  dropout?: number;
  /** Whether the query projection starts at zero (default false). */
  zeroInitQuery?: boolean;
  /** Whether the output projection starts at zero (default false). */
  zeroInit?: boolean;
  /** Width of the model in the base model (μP; default dModel). */
  baseDModel?: number;
  generator?: Generator;
  /** Source of dropout masks (default: the global one). */
  dropoutGenerator?: Generator;
  device?: Device;
}

/** Masked out of the softmax without producing NaN. */
const MASKED = -1e30;

/** Multi-head attention of each position to itself and those before it. */
export class CausalSelfAttention extends Module {
  readonly heads: number;
  readonly headDim: number;
  /** Factor on q·k. */
  readonly scale: number;
  readonly value: LinearLayer;
  readonly query: LinearLayer;
  readonly key: LinearLayer;
  readonly output: LinearLayer;
  readonly queryNorm: LayerNorm | null;
  readonly keyNorm: LayerNorm | null;
  readonly #dropout: number;
  readonly #dropoutGenerator: Generator | undefined;

  /** @throws EinlinearError INVALID_ARGUMENT if dModel is no multiple of the heads and no headDim is given */
  constructor(dModel: number, options: CausalSelfAttentionOptions) {
    super();
    requireObject('options', options);
    requirePositiveInteger('dModel', dModel);
    requirePositiveInteger('heads', options.heads);
    if (options.headDim === undefined && dModel % options.heads !== 0) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected dModel to be a multiple of heads (${options.heads}), got ${dModel}`,
        { dModel, heads: options.heads },
      );
    }
    this.heads = options.heads;
    this.headDim = options.headDim ?? dModel / options.heads;
    requirePositiveInteger('headDim', this.headDim);
    requireInRange('dropout', options.dropout ?? 0, 0, 1);
    this.scale = attentionScale(options.scale ?? 'muP', this.headDim);
    this.#dropout = options.dropout ?? 0;
    this.#dropoutGenerator = options.dropoutGenerator;

    const { bias = false, qkNorm = true, baseDModel = dModel, generator, device } = options;
    const structures = perProjection(options.structure ?? 'dense');
    const width = this.heads * this.headDim;
    const baseFans = { fanIn: baseDModel, fanOut: baseDModel };
    const project = { bias, baseFans, generator, device };
    // After a norm the scale of a query or key means nothing, so their factors need no gain.
    const projectToNorm = { ...project, gains: !qkNorm };
    const norm = { bias: options.qkNormBias ?? false, device };
    const parts = allOrNothing(() => ({
      value: createLinear(structures.value, dModel, width, project),
      query: createLinear(structures.query, dModel, width, {
        ...projectToNorm,
        zeroInit: options.zeroInitQuery ?? false,
      }),
      key: createLinear(structures.key, dModel, width, projectToNorm),
      output: createLinear(structures.output, width, dModel, {
        ...project,
        bias: options.outputBias ?? bias,
        zeroInit: options.zeroInit ?? false,
      }),
      queryNorm: qkNorm ? new LayerNorm(this.headDim, norm) : null,
      keyNorm: qkNorm ? new LayerNorm(this.headDim, norm) : null,
    }));
    this.value = parts.value;
    this.query = parts.query;
    this.key = parts.key;
    this.output = parts.output;
    this.queryNorm = parts.queryNorm;
    this.keyNorm = parts.keyNorm;
  }

  /** Multiply-accumulates for one token of a sequence of `time` tokens; the causal half is not discounted. */
  macsPerToken(time: number): number {
    const layers = [this.query, this.key, this.value, this.output];
    const projections = layers.reduce((sum, layer) => sum + layer.macsPerToken, 0);
    return projections + 2 * time * this.heads * this.headDim;
  }

  /**
   * @param x [batch, time, dModel]
   * @returns [batch, time, dModel]
   * @throws EinlinearError SHAPE_MISMATCH, DTYPE_MISMATCH
   */
  forward(x: Tensor): Tensor {
    requireFloat('x', x);
    requireAxes('x', x, ['batch', 'time', 'dModel']);
    requireLastAxis('x', x, this.query.dIn, 'dModel');
    const [batch, time] = x.shape;
    const split = (y: Tensor): Tensor => y.reshape([batch, time, this.heads, this.headDim]);
    return this.tidied(() => {
      let q = split(this.query.forward(x));
      let k = split(this.key.forward(x));
      const v = split(this.value.forward(x));
      if (this.queryNorm !== null) q = this.queryNorm.forward(q);
      if (this.keyNorm !== null) k = this.keyNorm.forward(k);
      const drops = this.training && this.#dropout > 0;
      const mixed = drops
        ? this.#attendWithDropout(q, k, v)
        : attention(q, k, v, { scale: this.scale, causal: true });
      const out = this.output.forward(mixed.reshape([batch, time, this.heads * this.headDim]));
      return drops ? this.#drop(out) : out;
    });
  }

  #drop(x: Tensor): Tensor {
    return dropout(x, this.#dropout, { training: true, generator: this.#dropoutGenerator });
  }

  // The fused op has no dropout, so the weights are written out.
  #attendWithDropout(q: Tensor, k: Tensor, v: Tensor): Tensor {
    const time = q.shape[1];
    const byHead = (t: Tensor): Tensor => t.permute([0, 2, 1, 3]);
    const scores = byHead(q)
      .matmul(k.permute([0, 2, 3, 1]))
      .mul(this.scale)
      .add(causalMask(time, q.device));
    return byHead(this.#drop(softmax(scores, -1)).matmul(byHead(v)));
  }
}

function attentionScale(scale: 'muP' | 'standard' | number, headDim: number): number {
  if (scale === 'muP') return 8 / headDim;
  if (scale === 'standard') return 1 / Math.sqrt(headDim);
  if (!Number.isFinite(scale)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected the attention scale to be 'muP', 'standard' or a finite number, got ${scale}`,
      { scale },
    );
  }
  return scale;
}

function causalMask(time: number, device: Device): Tensor {
  const mask = new Float32Array(time * time);
  for (let i = 0; i < time; i++) mask.fill(MASKED, i * time + i + 1, (i + 1) * time);
  return tensor(mask, { shape: [time, time], device });
}

function perProjection(structure: Structure | string | AttentionStructures): AttentionStructures {
  if (typeof structure === 'object' && 'query' in structure) return structure;
  return { query: structure, key: structure, value: structure, output: structure };
}
