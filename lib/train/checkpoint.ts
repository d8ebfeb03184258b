import { z } from 'zod';

import type { SamplerState } from '../data';
import { EinlinearError } from '../errors';
import type { HostTensor, Module } from '../nn';
import type { Optimizer } from '../optim';
import type { GeneratorState, Tensor } from '../tensor';
import { parseTrainConfig, type TrainConfig } from './config';
import { readSafetensors, writeSafetensors, type SafetensorsTensor } from './safetensors';

/** Before the names of the optimiser's moments; the model's tensors have their own names. */
const OPTIMIZER_PREFIX = 'optimizer.';
const KIND = 'einlinear-checkpoint';

const CounterState = z.object({ seed: z.int().min(0), counter: z.int().min(0) });

/** Where a run stands, besides its tensors. */
export interface Progress {
  /** Optimiser steps done. */
  step: number;
  /** Of the training batches. */
  sampler: SamplerState;
  /** Of dropout. */
  generator: GeneratorState;
  /** Tokens of the training data: another number means other data. */
  trainTokens: number;
}

/** What a checkpoint file holds. */
export interface Checkpoint extends Progress {
  config: TrainConfig;
  model: Map<string, HostTensor>;
  optimizer: { step: number; tensors: Map<string, HostTensor> };
}

async function download(tensors: Iterable<[string, Tensor]>, prefix: string) {
  return Promise.all(
    Array.from(tensors, async ([name, tensor]): Promise<[string, SafetensorsTensor]> => {
      const data = await tensor.data();
      return [prefix + name, { dtype: 'F32', shape: tensor.shape, data }];
    }),
  );
}

/**
 * Saves all that a run needs to go on bit-exactly, in one safetensors file written atomically: the model's tensors under
 * their own names, the optimiser's moments under `optimizer.`, and configuration, step and random states as metadata.
 *
 * @throws EinlinearError `IO`; the checkpoint before is then intact
 */
export async function saveCheckpoint(
  path: string,
  model: Module,
  optimizer: Optimizer,
  config: TrainConfig,
  progress: Progress,
): Promise<void> {
  const { step, tensors } = optimizer.stateDict();
  const entries = [
    ...(await download(model.stateDict(), '')),
    ...(await download(tensors, OPTIMIZER_PREFIX)),
  ];
  await writeSafetensors(path, new Map(entries), {
    kind: KIND,
    version: '1',
    config: JSON.stringify(config),
    step: String(progress.step),
    optimizerStep: String(step),
    sampler: JSON.stringify(progress.sampler),
    generator: JSON.stringify(progress.generator),
    trainTokens: String(progress.trainTokens),
  });
}

/**
 * Reads a checkpoint.
 *
 * @throws EinlinearError `INVALID_FILE` for a file that is damaged or no checkpoint of a run, `IO`
 */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
  const { tensors, metadata } = await readSafetensors(path);
  const fail = (message: string) =>
    new EinlinearError('INVALID_FILE', `${path} is not a checkpoint of a run: ${message}`, {
      path,
    });
  if (metadata.kind !== KIND || metadata.version !== '1') {
    throw fail(
      `expected metadata kind ${KIND} and version 1, got ${metadata.kind ?? 'no kind'} and ${metadata.version ?? 'no version'}`,
    );
  }
  const parse = <T>(name: string, schema: z.ZodType<T>): T => {
    let value: unknown;
    try {
      value = JSON.parse(metadata[name] ?? '');
    } catch {
      throw fail(`expected metadata ${name} to be JSON, got ${metadata[name] ?? 'nothing'}`);
    }
    const result = schema.safeParse(value);
    if (!result.success) throw fail(`metadata ${name}: ${z.prettifyError(result.error)}`);
    return result.data;
  };
  const model = new Map<string, HostTensor>();
  const moments = new Map<string, HostTensor>();
  for (const [name, { dtype, shape, data }] of tensors) {
    if (dtype !== 'F32') throw fail(`expected tensor ${name} to be F32, got ${dtype}`);
    const value = { shape, data: data as Float32Array };
    if (name.startsWith(OPTIMIZER_PREFIX)) moments.set(name.slice(OPTIMIZER_PREFIX.length), value);
    else model.set(name, value);
  }
  const config = parseTrainConfig(metadata.config ?? '', path);
  // Every layer has tensors: more layers than those cannot be true, and building them could take all memory.
  if (config.model.layers > model.size) {
    throw fail(
      `its configuration has ${config.model.layers} layers, its model ${model.size} tensors`,
    );
  }
  return {
    config,
    step: parse('step', z.int().min(0)),
    sampler: parse('sampler', CounterState),
    generator: parse('generator', CounterState),
    trainTokens: parse('trainTokens', z.int().min(0)),
    model,
    optimizer: { step: parse('optimizerStep', z.int().min(0)), tensors: moments },
  };
}
