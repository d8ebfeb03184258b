import { z } from 'zod';
import { GPT, MLP, PixelTransformer, importPaper, paperEntries, toPaper } from '../../lib/models';
import type { Module } from '../../lib/nn';
import { AdamW, clipGradNorm, constantSchedule, parameterGroups } from '../../lib/optim';
import { tensor, tidy, type Tensor } from '../../lib/tensor';
import { type CaseFile, read } from './caseFile';
import { norm, type Checker } from './checker';

/** Relative error allowed in losses and outputs of a whole model. */
const OUTPUT_TOLERANCE = 1e-5;
/** Relative error allowed in gradients and trained parameters. */
const GRADIENT_TOLERANCE = 1e-4;
/** Part of the norm of all gradients that counts as the scale of each: some have nothing but rounding noise. */
const NOISE_SCALE = 1e-4;

const group = z.object({
  name: z.string(),
  shape: z.array(z.number()),
  lr_multiplier: z.number(),
  weight_decay: z.number(),
});

const gptSize = z.object({
  n_layer: z.number(),
  n_head: z.number(),
  d_head: z.number(),
  d_model: z.number(),
  d_embd: z.number(),
  block_size: z.number(),
  bias: z.boolean(),
  vocab_size: z.number(),
  dropout: z.number(),
  do_qk_ln: z.boolean(),
  split_qkv: z.literal(true),
  ffn_expansion: z.number(),
  num_ffn_experts: z.number(),
  num_active_ffn_experts: z.number(),
  axial: z.literal(false),
  use_head_btt: z.literal(false),
});

const structureConfig = z.object({
  tt_rank: z.number(),
  num_experts: z.number(),
  num_active_experts: z.number(),
  expr: z.string(),
});

const gptMeta = z.object({
  struct: z.string(),
  base_config: gptSize,
  target_config: gptSize,
  structure_config: structureConfig,
  optimizer: z.strictObject({
    name: z.literal('AdamW'),
    lr: z.number(),
    betas: z.tuple([z.number(), z.number()]),
    eps: z.number(),
    weight_decay: z.number(),
    grad_clip: z.number(),
    warmup_steps: z.number().optional(),
  }),
  aux_loss_weight: z.number(),
  parameter_groups: z.array(group),
  losses: z.array(z.number()),
  aux_losses: z.array(z.number()),
  grad_norms: z.array(z.number()),
});

/** A language model: first logits and gradients, then optimiser steps. */
export function checkGPT(file: CaseFile, checker: Checker): void {
  const meta = gptMeta.parse(file.meta);
  const { target_config: target, base_config: base, optimizer: settings } = meta;
  const width = target.d_embd === -1 ? target.d_model : target.d_embd;
  if (width !== target.d_model) throw new Error(`Expected d_embd = d_model, got ${width}`);
  const model = new GPT({
    vocabSize: target.vocab_size,
    contextLength: target.block_size,
    layers: target.n_layer,
    dModel: target.d_model,
    ...(target.n_head === -1 ? {} : { heads: target.n_head }),
    ...(target.d_head === -1 ? {} : { headDim: target.d_head }),
    feedForwardExpansion: target.ffn_expansion,
    structure: gptStructure(meta),
    bias: target.bias,
    qkNorm: target.do_qk_ln,
    dropout: target.dropout,
    auxLossWeight: meta.aux_loss_weight,
    base: { dModel: base.d_model, feedForwardExpansion: base.ffn_expansion },
  });
  const optimizer = new AdamW(model, {
    lr: settings.lr,
    betas: settings.betas,
    eps: settings.eps,
    weightDecay: settings.weight_decay,
  });
  const schedule = constantSchedule({ warmupSteps: settings.warmup_steps ?? 0 });
  try {
    importPaper(model, file.withPrefix('init.'));
    checkGroups(model, settings.weight_decay, meta.parameter_groups, checker);
    const tokens = file.integers('tokens');
    const targets = file.integers('targets');
    const [steps = 0, ...shape] = tokens.shape;
    const size = shape.reduce((product, s) => product * s, 1);
    const batch = ({ data }: { data: Int32Array }, step: number): Tensor =>
      tensor(data.slice(step * size, (step + 1) * size), { shape });
    for (let step = 0; step < steps; step++) {
      tidy(() => {
        const ids = batch(tokens, step);
        if (step === 0) {
          const logits = read(model.forward(ids));
          checker.close('logits', logits, file.floats('logits0').data, OUTPUT_TOLERANCE);
        }
        const { total, crossEntropy, auxiliary } = model.loss(ids, batch(targets, step));
        const aux = auxiliary === null ? [0] : read(auxiliary);
        checker.close(`loss ${step}`, read(crossEntropy), [meta.losses[step]], OUTPUT_TOLERANCE);
        checker.close(`aux ${step}`, aux, [meta.aux_losses[step]], OUTPUT_TOLERANCE);
        model.zeroGrad();
        total.backward();
        if (step === 0) checkGradients(file, model, checker);
        const limit = settings.grad_clip === 0 ? Infinity : settings.grad_clip;
        const clipped = clipGradNorm(model.parameters(), limit);
        const norms = [meta.grad_norms[step]];
        checker.close(`gradient norm ${step}`, read(clipped.norm), norms, GRADIENT_TOLERANCE);
        optimizer.lr = settings.lr * schedule(step);
        optimizer.step({ gradScale: clipped.scale });
      });
    }
    for (const entry of paperEntries(model)) {
      const got = toPaper(entry, read(entry.parameter));
      const name = `final.${entry.paper}`;
      checker.close(name, got, file.floats(name).data, GRADIENT_TOLERANCE);
    }
  } finally {
    optimizer.dispose();
    model.dispose();
  }
}

function gptStructure(meta: z.infer<typeof gptMeta>): string {
  const { target_config: target, structure_config: config } = meta;
  if (target.num_ffn_experts === 1) return structure(meta.struct, config.expr, config);
  if (meta.struct !== 'dense') {
    throw new Error(`Expected a mixture of dense feed-forward blocks, got ${meta.struct}`);
  }
  return `moe:experts=${target.num_ffn_experts},k=${target.num_active_ffn_experts}`;
}

/** The published name of a structure in ours. */
function structure(
  struct: string,
  theta: string,
  config?: z.infer<typeof structureConfig>,
): string {
  const experts = `experts=${config?.num_experts ?? 0},k=${config?.num_active_experts ?? 0}`;
  const rank = `rank=${config?.tt_rank ?? 1},rounding=paper`;
  switch (struct) {
    case 'dense':
      return 'dense';
    case 'einsum':
      return `${theta}:rounding=paper,normalize=false`;
    case 'einsum_norm':
      return `${theta}:rounding=paper`;
    case 'btt':
      return `btt:${rank},normalize=false`;
    case 'btt_norm':
      return `btt:${rank}`;
    case 'btt_norm_moe_para':
      return `btt-moe:${experts},rounding=paper`;
    case 'dense_moe':
      return `dense-moe:${experts}`;
    default:
      throw new Error(`Expected a structure that the published code has, got '${struct}'`);
  }
}

const mlpSize = z.object({
  dim_in: z.number(),
  dim_out: z.number(),
  depth: z.number(),
  width: z.number(),
  use_bias: z.boolean(),
});

const mlpMeta = z.object({
  struct: z.string(),
  theta: z.string(),
  base_config: mlpSize,
  target_config: mlpSize,
  parameter_groups: z.array(group),
  loss: z.literal('mean squared error'),
  structure_config: structureConfig.optional(),
});

/** The regression student: one batch. */
export function checkMLP(file: CaseFile, checker: Checker): void {
  const meta = mlpMeta.parse(file.meta);
  const { target_config: target, base_config: base } = meta;
  const model = new MLP({
    dIn: target.dim_in,
    dOut: target.dim_out,
    depth: target.depth,
    width: target.width,
    structure: structure(meta.struct, meta.theta, meta.structure_config),
    bias: target.use_bias,
    permutation: Array.from(file.integers('pixel_permutation').data),
    auxLossWeight: 0,
    base: { width: base.width },
  });
  try {
    importPaper(model, file.withPrefix('param.'));
    checkGroups(model, decayOf(meta.parameter_groups), meta.parameter_groups, checker);
    tidy(() => {
      const x = file.tensor('x', { requiresGrad: true });
      checker.close('y', read(model.forward(x)), file.floats('y').data, OUTPUT_TOLERANCE);
      const { total, meanSquaredError } = model.loss(x, file.tensor('target'));
      const { data: loss } = file.floats('loss');
      checker.close('loss', read(meanSquaredError), loss, OUTPUT_TOLERANCE);
      total.backward();
      checker.close('dx', read(x.grad), file.floats('dx').data, GRADIENT_TOLERANCE);
      checkGradients(file, model, checker);
    });
  } finally {
    model.dispose();
  }
}

const pixelSize = z.object({
  width: z.number(),
  depth: z.number(),
  ffn_expansion: z.number(),
  heads: z.number(),
  image_size: z.number(),
  in_channels: z.number(),
  vocab_size: z.number(),
});

const pixelMeta = z.object({
  struct: z.string(),
  theta: z.string(),
  base_config: pixelSize,
  target_config: pixelSize,
  parameter_groups: z.array(group),
  structure_config: structureConfig.optional(),
});

/** The next-pixel transformer: one batch. */
export function checkPixelTransformer(file: CaseFile, checker: Checker): void {
  const meta = pixelMeta.parse(file.meta);
  const { target_config: target, base_config: base } = meta;
  const model = new PixelTransformer({
    imageSize: target.image_size,
    channels: target.in_channels,
    vocabSize: target.vocab_size,
    depth: target.depth,
    width: target.width,
    heads: target.heads,
    feedForwardExpansion: target.ffn_expansion,
    structure: structure(meta.struct, meta.theta, meta.structure_config),
    auxLossWeight: 0,
    base: { width: base.width },
  });
  try {
    importPaper(model, file.withPrefix('param.'));
    checkGroups(model, decayOf(meta.parameter_groups), meta.parameter_groups, checker);
    tidy(() => {
      const image = channelsLast(file.integers('image'));
      const output = read(model.forward(image));
      checker.close('output', output, file.floats('output').data, OUTPUT_TOLERANCE);
      const { total, crossEntropy } = model.loss(image);
      checker.close('loss', read(crossEntropy), file.floats('loss').data, OUTPUT_TOLERANCE);
      total.backward();
      checkGradients(file, model, checker);
    });
  } finally {
    model.dispose();
  }
}

/** [batch, channels, height, width] as a tensor [batch, height, width, channels] */
function channelsLast(image: { shape: readonly number[]; data: Int32Array }): Tensor {
  const [batch, channels, height, width] = image.shape as [number, number, number, number];
  const pixels = height * width;
  const data = new Int32Array(image.data.length);
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < pixels; p++) {
        data[(b * pixels + p) * channels + c] = image.data[(b * channels + c) * pixels + p]!;
      }
    }
  }
  return tensor(data, { shape: [batch, height, width, channels] });
}

/** The decay that the groups of a case were made with. */
function decayOf(groups: readonly z.infer<typeof group>[]): number {
  return Math.max(0, ...groups.map((g) => g.weight_decay));
}

/** Every parameter's name, shape, learning-rate multiplier and decay. */
function checkGroups(
  model: Module,
  weightDecay: number,
  expected: readonly z.infer<typeof group>[],
  checker: Checker,
): void {
  const ours = new Map(parameterGroups(model, { weightDecay }).map((g) => [g.parameters[0][1], g]));
  const entries = new Map(paperEntries(model).map((entry) => [entry.paper, entry]));
  const names = expected.map((g) => g.name);
  checker.same('names of the groups', [...entries.keys()].sort(), [...names].sort());
  for (const { name, shape, lr_multiplier: multiplier, weight_decay: decay } of expected) {
    const entry = entries.get(name);
    const g = entry && ours.get(entry.parameter);
    if (entry === undefined || g === undefined) continue; // reported with the names
    checker.same(`shape of ${name}`, entry.shape, shape);
    checker.exact(`multiplier of ${name}`, [g.lrMultiplier], [multiplier]);
    checker.exact(`decay of ${name}`, [g.weightDecay], [decay]);
  }
}

/** The gradients of all parameters. */
function checkGradients(file: CaseFile, model: Module, checker: Checker): void {
  const all = norm([...file.withPrefix('grad.').values()].map(({ data }) => norm(data)));
  for (const entry of paperEntries(model)) {
    const name = `grad.${entry.paper}`;
    const expected = file.floats(name).data;
    const got = toPaper(entry, read(entry.parameter.grad));
    const scale = norm(expected) + NOISE_SCALE * all;
    checker.within(name, got, expected, GRADIENT_TOLERANCE, scale);
  }
}
