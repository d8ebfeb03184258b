import { z } from 'zod';

import { EinlinearError } from '../errors';
import { resolveGPTConfig, type GPTConfig, type ResolvedGPTConfig } from '../models';
import { constantSchedule, cosineSchedule, linearSchedule, type Schedule } from '../optim';

const whole = (least: number) => z.int().min(least);
const atLeastZero = z.number().min(0);

const SettingsSchema = z.strictObject({
  /** Folder of the token files; relative to the run folder where it lies inside. */
  data: z.string(),
  /** What the user named: a text, a folder or a data set. */
  source: z.string(),
  /** Symbol of every token id, where ids are characters. */
  symbols: z.string().nullable(),
  /** Rows of one micro-batch, each of the model's context length. */
  batch: whole(1),
  /** Micro-batches whose gradients are averaged for one step. */
  gradAccumulation: whole(1),
  /** Optimiser steps. */
  steps: whole(0),
  /** Learning rate at the base width (μP). */
  lr: atLeastZero,
  /** Steps over which the learning rate rises from 0. */
  warmup: whole(0),
  schedule: z.enum(['constant', 'cosine', 'linear']),
  /** Share of the learning rate left at the end of a decaying schedule. */
  finalLr: z.number().min(0).max(1),
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]),
  weightDecay: atLeastZero,
  /** Limit of the global gradient norm; 0 for none. */
  gradClip: atLeastZero,
  /** Decides initial weights, batches and dropout. */
  seed: z.int().min(0),
  /** How products round their operands; weights and sums are float32 always. */
  dtype: z.enum(['float32', 'tf32', 'bfloat16']),
  /** Where it runs. */
  device: z.union([
    z.literal('cpu'),
    z.literal('cuda'),
    z.templateLiteral(['cuda:', z.int().min(0)]),
    z.literal('cuda-emulated'),
  ]),
  /** CPU threads, or null for as many as there are. Results do not depend on it. */
  threads: whole(1).nullable(),
  /** Steps between evaluations; 0 evaluates at the end alone. */
  evalEvery: whole(0),
  /** Batches of an evaluation. */
  evalBatches: whole(1),
  /** Steps between lines in the metrics. */
  logEvery: whole(1),
  /** Steps between checkpoints; 0 saves at the end alone. */
  checkpointEvery: whole(0),
});

/** Everything about a run but its model. */
export type TrainSettings = z.infer<typeof SettingsSchema>;

/** All that defines a run, as `config.json` and the checkpoint hold it. */
export interface TrainConfig extends TrainSettings {
  model: ResolvedGPTConfig;
}

/** What a run must be told; the rest has defaults. */
export type TrainConfigInput = { model: GPTConfig; data: string } & Partial<TrainSettings>;

/** Vocabularies up to this size train as character models do in the paper. */
const SMALL_VOCABULARY = 256;

/**
 * Fills in the defaults, which are those of the paper (arXiv 2410.02117): AdamW (0.9, 0.95), no weight decay, clipping at 1, and by the
 * size of the vocabulary learning rate 3e-3 constant or 6e-4 with a cosine to 10 %; warm-up over 2 % of the steps.
 *
 * @throws EinlinearError `INVALID_ARGUMENT` naming each setting that is unknown, of the wrong type or out of range
 */
export function resolveTrainConfig(input: TrainConfigInput): TrainConfig {
  const { model: modelConfig, ...given } = input;
  const model = resolveGPTConfig(modelConfig);
  const small = model.vocabSize <= SMALL_VOCABULARY;
  const steps = given.steps ?? 2000;
  const defaults: Omit<TrainSettings, 'data'> = {
    source: given.data,
    symbols: null,
    batch: 32,
    gradAccumulation: 1,
    steps,
    lr: small ? 3e-3 : 6e-4,
    warmup: Math.round(0.02 * steps),
    schedule: small ? 'constant' : 'cosine',
    finalLr: 0.1,
    betas: [0.9, 0.95],
    weightDecay: 0,
    gradClip: 1,
    seed: 0,
    dtype: 'float32',
    device: 'cpu',
    threads: null,
    evalEvery: 100,
    evalBatches: 20,
    logEvery: 10,
    checkpointEvery: 200,
  };
  const present = Object.entries(given).filter(([, value]) => value !== undefined);
  const result = SettingsSchema.safeParse({ ...defaults, ...Object.fromEntries(present) });
  if (!result.success) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected valid training settings: ${result.error.issues
        .map(({ path, message, input: got }) => `${path.join('.')}: ${message}, got ${String(got)}`)
        .join('; ')}`,
      { issues: result.error.issues },
    );
  }
  const config: TrainConfig = { model, ...result.data };
  if (config.warmup > config.steps) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected warmup to be at most steps (${config.steps}), got ${config.warmup}`,
      { warmup: config.warmup, steps: config.steps },
    );
  }
  return config;
}

/**
 * Reads a configuration from the JSON text of `config.json` or a checkpoint.
 *
 * @throws EinlinearError `INVALID_FILE`
 */
export function parseTrainConfig(text: string, path: string): TrainConfig {
  try {
    const parsed = JSON.parse(text) as TrainConfigInput;
    return resolveTrainConfig(parsed);
  } catch (error) {
    throw new EinlinearError(
      'INVALID_FILE',
      `${path} holds no valid run configuration: ${(error as Error).message}`,
      { path },
    );
  }
}

/** Factor on the learning rate at each step of a run. */
export function scheduleOf(config: TrainConfig): Schedule {
  const { schedule, steps, warmup: warmupSteps, finalLr: final } = config;
  switch (schedule) {
    case 'constant':
      return constantSchedule({ warmupSteps });
    case 'cosine':
      return cosineSchedule({ steps, warmupSteps, final });
    case 'linear':
      return linearSchedule({ steps, warmupSteps, final });
  }
}
