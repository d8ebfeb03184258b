import { setImmediate } from 'node:timers/promises';

import { describe } from '../checks';
import { EinlinearError } from '../errors';
import type { LayerNorm } from '../nn';
import {
  BTTMoELinear,
  EinsumLinear,
  Linear,
  MoE,
  MoELinear,
  type HostTensor,
  Module,
  type LinearLayer,
  type Parameter,
  type StateDict,
} from '../nn';
import { checkState, hostValues, requireStateDict } from '../nn/stateDict';
import type { EinsumSizes } from '../structure';
import { GPT, type GPTBlock } from './gpt';
import { MLP } from './mlp';
import { fromPaper, sameLayout, toPaper, transposed, type PaperEntry } from './paperLayout';
import { PixelTransformer } from './pixelTransformer';

export { fromPaper, sameLayout, toPaper, type PaperEntry } from './paperLayout';

/**
 * Every tensor of the published PyTorch code ("Searching for Efficient Linear Layers…") for the same model, in its
 * order, with where its values stand in ours. Sizes agree where the model was made with `rounding=paper`.
 *
 * @throws EinlinearError INVALID_ARGUMENT for a kind of model that the published code does not have
 */
export function paperEntries(model: Module): PaperEntry[] {
  if (model instanceof GPT) return gptEntries(model);
  if (model instanceof MLP) return mlpEntries(model);
  if (model instanceof PixelTransformer) return pixelTransformerEntries(model);
  const got = (model as unknown) instanceof Module ? model.constructor.name : describe(model);
  throw new EinlinearError(
    'INVALID_ARGUMENT',
    `Expected a GPT, MLP or PixelTransformer, got ${got}`,
  );
}

/**
 * Copies the parameters of the published code's state dict into a model, after everything has been checked.
 *
 * @param state values by the published names, in the published layouts; a second name of the same tensor may be left
 *   out
 * @throws EinlinearError CHECKPOINT_MISMATCH listing all missing names, unexpected names, wrong shapes and values that
 *   are not live float32; INVALID_ARGUMENT unless the state is a Map, or for a kind of model that the published code
 *   does not have; DISPOSED
 */
export function importPaper(model: Module, state: StateDict): void {
  const entries = paperEntries(model);
  for (const { parameter } of entries) parameter.requireLive();
  requireStateDict(state);
  const shapes = new Map<string, readonly number[]>();
  for (const { paper, alias, shape } of entries) {
    shapes.set(paper, shape);
    if (alias !== undefined && state.has(alias)) shapes.set(alias, shape);
  }
  checkState("the published code's tensors for this model", shapes, state);
  const values = new Map<Parameter, Float32Array>();
  for (const entry of entries) {
    const target = values.get(entry.parameter) ?? new Float32Array(entry.parameter.size);
    values.set(entry.parameter, target);
    fromPaper(entry, hostValues(state.get(entry.paper)!), target);
  }
  for (const [parameter, data] of values) parameter.copyFrom(data);
}

/**
 * The model's parameters under the published names, in the published layouts. The event loop stays free between one
 * tensor and the next.
 *
 * @throws (rejects with) EinlinearError INVALID_ARGUMENT for a kind of model that the published code does not have;
 *   DISPOSED
 */
export async function exportPaper(model: Module): Promise<Map<string, HostTensor>> {
  const entries = paperEntries(model);
  const parameters = model.parameters();
  // All reads are queued at once, so that a training step taken meanwhile is in none of them.
  const data = await Promise.all(parameters.map((parameter) => parameter.data()));
  const values = new Map(parameters.map((parameter, i) => [parameter, data[i] as Float32Array]));
  const state = new Map<string, HostTensor>();
  for (const entry of entries) {
    const tensor = { shape: entry.shape, data: toPaper(entry, values.get(entry.parameter)!) };
    state.set(entry.paper, tensor);
    if (entry.alias !== undefined) state.set(entry.alias, tensor);
    await setImmediate();
  }
  return state;
}

function gptEntries(model: GPT): PaperEntry[] {
  return [
    sameLayout('transformer.wte.weight', model.tokenEmbedding.weight),
    sameLayout('transformer.wpe.weight', model.positionEmbedding.weight),
    ...model.blocks.flatMap((block, i) => gptBlockEntries(`transformer.h.${i}`, block)),
    ...normEntries('transformer.ln_f', model.finalNorm),
    ...(model.head instanceof Linear ? plainEntries('lm_head', model.head) : []),
    ...(model.head === null || model.head instanceof Linear
      ? []
      : linearEntries('lm_head', model.head)),
  ];
}

function gptBlockEntries(name: string, block: GPTBlock): PaperEntry[] {
  const { attention, feedForward } = block;
  return [
    ...normEntries(`${name}.ln_1`, block.norm1),
    ...linearEntries(`${name}.attn.c_attn_v`, attention.value),
    ...linearEntries(`${name}.attn.c_attn_q`, attention.query),
    ...linearEntries(`${name}.attn.c_attn_k`, attention.key),
    ...linearEntries(`${name}.attn.c_proj`, attention.output),
    ...(attention.queryNorm ? normEntries(`${name}.attn.ln_q`, attention.queryNorm) : []),
    ...(attention.keyNorm ? normEntries(`${name}.attn.ln_k`, attention.keyNorm) : []),
    ...normEntries(`${name}.ln_2`, block.norm2),
    ...(feedForward instanceof MoE
      ? moeEntries(`${name}.mlp`, feedForward)
      : [
          ...linearEntries(`${name}.mlp.c_fc`, feedForward.up),
          ...linearEntries(`${name}.mlp.c_proj`, feedForward.down),
        ]),
  ];
}

function mlpEntries(model: MLP): PaperEntry[] {
  return [
    ...plainEntries('input_layer', model.input),
    ...normEntries('input_ln', model.inputNorm),
    ...model.blocks.flatMap((block, i) => [
      ...linearEntries(`hidden_layers.${i}.linear1`, block.up),
      ...linearEntries(`hidden_layers.${i}.linear2`, block.down),
      ...normEntries(`hidden_layers.${i}.ln`, block.norm),
    ]),
    ...plainEntries('output_layer', model.head),
  ];
}

function pixelTransformerEntries(model: PixelTransformer): PaperEntry[] {
  const { width } = model.config;
  return [
    sameLayout('bos_token', model.begin, [1, 1, width]),
    sameLayout('pos_embedding', model.positions, [1, model.sequenceLength + 1, width]),
    sameLayout('embedding.weight', model.embedding.weight),
    ...normEntries('transformer.norm', model.finalNorm),
    ...model.blocks.flatMap(({ norm1, attention, norm2, feedForward }, i) => {
      const attn = `transformer.layers.${i}.0`;
      const net = `transformer.layers.${i}.1.net`;
      return [
        ...normEntries(`${attn}.norm`, norm1),
        ...linearEntries(`${attn}.to_q`, attention.query),
        ...linearEntries(`${attn}.to_k`, attention.key),
        ...linearEntries(`${attn}.to_v`, attention.value),
        ...(attention.queryNorm ? normEntries(`${attn}.q_norm`, attention.queryNorm) : []),
        ...(attention.keyNorm ? normEntries(`${attn}.k_norm`, attention.keyNorm) : []),
        ...linearEntries(`${attn}.to_out.0`, attention.output),
        ...normEntries(`${net}.0`, norm2),
        ...linearEntries(`${net}.1`, feedForward.up),
        ...linearEntries(`${net}.4`, feedForward.down),
      ];
    }),
    ...plainEntries('mlp_head', model.head),
  ];
}

function normEntries(name: string, norm: LayerNorm): PaperEntry[] {
  return [sameLayout(`${name}.weight`, norm.weight), ...biasEntry(`${name}.bias`, norm.bias)];
}

/** Layers that the published code leaves as PyTorch's own. */
function plainEntries(name: string, layer: Linear): PaperEntry[] {
  return [sameLayout(`${name}.weight`, layer.weight), ...biasEntry(`${name}.bias`, layer.bias)];
}

/** Layers that the published code replaces by structured ones, dense ones included. */
export function linearEntries(name: string, layer: LinearLayer): PaperEntry[] {
  if (layer instanceof Linear) {
    return [
      ...biasEntry(`${name}.b`, layer.bias),
      transposed(`${name}.matrix_params.0`, layer.weight),
    ];
  }
  if (layer instanceof EinsumLinear) {
    return [...biasEntry(`${name}.b`, layer.bias), ...factorEntries(name, layer)];
  }
  if (layer instanceof BTTMoELinear) {
    // The published layer and the BTT within it hold the same bias.
    const alias = `${name}.btt_layer.b`;
    return [
      ...biasEntry(`${name}.b`, layer.bias).map((entry) => ({ ...entry, alias })),
      ...factorEntries(`${name}.btt_layer`, layer),
      sameLayout(`${name}.moe_gate.weight`, layer.gate.weight),
    ];
  }
  if (layer instanceof MoELinear) return moeLinearEntries(name, layer);
  throw new EinlinearError(
    'INVALID_ARGUMENT',
    `Expected '${name}' to be a layer that the published code has, got ${layer.constructor.name}`,
  );
}

function factorEntries(name: string, layer: EinsumLinear | BTTMoELinear): PaperEntry[] {
  const { sizes } = layer.plan;
  const isBTT = sizes.beta === 1 && sizes.delta === 1;
  const [first, second] = [`${name}.matrix_params.0`, `${name}.matrix_params.1`];
  const { a, b, gainA, gainB } = layer;
  return [
    isBTT ? bttFirst(first, a, sizes) : sameLayout(first, a, squeezed(a.shape)),
    isBTT ? bttSecond(second, b, sizes) : sameLayout(second, b, squeezed(b.shape)),
    ...(gainA === null ? [] : [sameLayout(`${name}.matrix_params.2`, gainA)]),
    ...(gainB === null ? [] : [sameLayout(`${name}.matrix_params.3`, gainB)]),
  ];
}

/** A[φ, 1, ρ, γ, α] is [γ, α, (φ ρ)] there. */
function bttFirst(paper: string, parameter: Parameter, sizes: EinsumSizes): PaperEntry {
  const { phi, rho, gamma, alpha } = sizes;
  return {
    paper,
    shape: [gamma, alpha, phi * rho],
    parameter,
    expert: null,
    view: [phi, rho, gamma, alpha],
    permutation: [2, 3, 0, 1],
  };
}

/** B[φ, ε, ρ, γ, 1] is [φ, (γ ρ), ε] there. */
function bttSecond(paper: string, parameter: Parameter, sizes: EinsumSizes): PaperEntry {
  const { phi, epsilon, rho, gamma } = sizes;
  return {
    paper,
    shape: [phi, gamma * rho, epsilon],
    parameter,
    expert: null,
    view: [phi, epsilon, rho, gamma],
    permutation: [0, 3, 2, 1],
  };
}

function moeEntries(name: string, layer: MoE): PaperEntry[] {
  const { experts } = layer.gate;
  return [
    ...range(experts).flatMap((e) => [
      ...expertBias(`${name}.experts.${e}.c_fc.b`, layer.up.bias, e),
      transposed(`${name}.experts.${e}.c_fc.matrix_params.0`, layer.up.weight, e),
      ...expertBias(`${name}.experts.${e}.c_proj.b`, layer.down.bias, e),
      transposed(`${name}.experts.${e}.c_proj.matrix_params.0`, layer.down.weight, e),
    ]),
    sameLayout(`${name}.moe_gate.weight`, layer.gate.weight),
  ];
}

function moeLinearEntries(name: string, layer: MoELinear): PaperEntry[] {
  const { first, last } = layer;
  return [
    ...range(layer.gate.experts).flatMap((e) => {
      const expert = `${name}.experts.${e}`;
      const matrices = first === null ? [last] : [first, last];
      return [
        ...expertBias(`${expert}.b`, last.bias, e),
        ...matrices.map((m, i) => transposed(`${expert}.matrix_params.${i}`, m.weight, e)),
      ];
    }),
    sameLayout(`${name}.moe_gate.weight`, layer.gate.weight),
  ];
}

function biasEntry(name: string, bias: Parameter | null): PaperEntry[] {
  return bias === null ? [] : [sameLayout(name, bias)];
}

/** One row of the biases that are stacked here. */
function expertBias(paper: string, bias: Parameter | null, expert: number): PaperEntry[] {
  if (bias === null) return [];
  const size = bias.shape[1];
  return [{ paper, shape: [size], parameter: bias, expert, view: [size], permutation: [0] }];
}

function squeezed(shape: readonly number[]): number[] {
  return shape.filter((size) => size !== 1);
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
