import type { Command } from 'commander';
import { basename, dirname, extname, isAbsolute, join, relative, resolve } from 'node:path';

import {
  CHARACTER_COUNT,
  hasTokenFiles,
  prepareText,
  readTokenMeta,
  type TokenMeta,
} from '../data';
import { EinlinearError } from '../errors';
import { GPT, type GPTConfig } from '../models';
import { formatStructure, parseStructure } from '../structure';
import { device as openDevice, type DeviceName } from '../tensor';
import { RunFolder, train, type TrainConfig, type TrainConfigInput } from '../train';
import { deviceName, pickDevice, type DeviceFlag } from './deviceFlag';
import {
  flagError,
  flagOf,
  isGiven,
  numberWithin,
  oneOf,
  structureText,
  wholeNumber,
} from './flags';
import { formatCount, formatShort } from './format';
import type { CommandIO } from './io';
import { DATASET_NAMES, isPath } from './source';
import { TrainingProgress } from './trainingProgress';

interface TrainFlags {
  structure: string;
  layers: number;
  dModel: number;
  headDim: number;
  context: number;
  dropout: number;
  batch: number;
  gradAccumulation: number;
  steps: number;
  lr?: number;
  warmup?: number;
  schedule?: TrainConfig['schedule'];
  finalLr?: number;
  weightDecay: number;
  gradClip: number;
  seed: number;
  dtype: TrainConfig['dtype'];
  device: DeviceFlag;
  threads?: number;
  evalEvery: number;
  evalBatches: number;
  logEvery: number;
  checkpointEvery: number;
  out?: string;
  resume?: true;
  json?: true;
}

/** How each flag reads in the configuration of a run that is continued. */
const OF_CONFIG: Readonly<
  Record<
    Exclude<keyof TrainFlags, 'out' | 'resume' | 'json' | 'threads' | 'device'>,
    (config: TrainConfig) => unknown
  >
> = {
  structure: ({ model }) => model.structure,
  layers: ({ model }) => model.layers,
  dModel: ({ model }) => model.dModel,
  headDim: ({ model }) => model.headDim,
  context: ({ model }) => model.contextLength,
  dropout: ({ model }) => model.dropout,
  batch: (config) => config.batch,
  gradAccumulation: (config) => config.gradAccumulation,
  steps: (config) => config.steps,
  lr: (config) => config.lr,
  warmup: (config) => config.warmup,
  schedule: (config) => config.schedule,
  finalLr: (config) => config.finalLr,
  weightDecay: (config) => config.weightDecay,
  gradClip: (config) => config.gradClip,
  seed: (config) => config.seed,
  dtype: (config) => config.dtype,
  evalEvery: (config) => config.evalEvery,
  evalBatches: (config) => config.evalBatches,
  logEvery: (config) => config.logEvery,
  checkpointEvery: (config) => config.checkpointEvery,
};

const NOTES = `
With 0, --eval-every and --checkpoint-every leave it at the end of the run.

Example:
  einlinear train sotu --structure btt-moe:experts=8,k=2 --d-model 256 --steps 2000 --out runs/moe
  einlinear train --resume --out runs/moe
`;

/** Adds `train`. */
export function addTrainCommand(program: Command, io: CommandIO): void {
  const positive = wholeNumber(1);
  const count = wholeNumber(0);
  const command = program
    .command('train')
    .summary('train a GPT whose linear layers have any structure')
    .description('Train a GPT whose linear layers have any structure.')
    .argument('[data]', 'text file, folder of texts or of .bin files, or sotu')
    .option('--structure <text>', 'such as btt-moe:experts=8,k=2', structureText, 'dense')
    .option('--layers <n>', 'blocks', positive, 3)
    .option('--d-model <n>', 'width', positive, 128)
    .option('--head-dim <n>', 'width of an attention head', positive, 32)
    .option('--context <n>', 'tokens the model sees', positive, 128)
    .option('--dropout <p>', 'share of features dropped', numberWithin(0, 0.999), 0)
    .option('--batch <n>', 'rows of a micro-batch', positive, 32)
    .option('--grad-accumulation <n>', 'micro-batches of a step', positive, 1)
    .option('--steps <n>', 'optimiser steps', count, 2000)
    .option('--lr <x>', 'learning rate (3e-3 for characters, else 6e-4)', numberWithin(0, Infinity))
    .option('--warmup <n>', 'steps of warm-up (2 % of the steps)', count)
    .option(
      '--schedule <name>',
      'constant (characters), cosine (others) or linear',
      oneOf('constant', 'cosine', 'linear'),
    )
    .option('--final-lr <x>', 'share of the rate left at the end (0.1)', numberWithin(0, 1))
    .option('--weight-decay <x>', 'of matrices', numberWithin(0, Infinity), 0)
    .option('--grad-clip <x>', 'largest gradient norm, 0 for any', numberWithin(0, Infinity), 1)
    .option('--seed <n>', 'decides weights, batches and dropout', count, 0)
    .option(
      '--dtype <name>',
      'how products round: float32, tf32 or bfloat16 (GPU)',
      oneOf('float32', 'tf32', 'bfloat16'),
      'float32',
    )
    .option('--device <name>', 'auto, cpu, cuda or cuda:1', deviceName, 'auto')
    .option('--threads <n>', 'CPU threads (all)', positive)
    .option('--eval-every <n>', 'steps between evaluations', count, 100)
    .option('--eval-batches <n>', 'batches of an evaluation', positive, 20)
    .option('--log-every <n>', 'steps between lines of metrics', positive, 10)
    .option('--checkpoint-every <n>', 'steps between checkpoints', count, 200)
    .option('--out <folder>', 'run folder (runs/<data>-<structure>)')
    .option('--resume', 'continue the run in --out')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', NOTES);
  command.action(async (data: string | undefined, flags: TrainFlags) => {
    await runTrain(command, io, data, flags);
  });
}

async function runTrain(
  command: Command,
  io: CommandIO,
  data: string | undefined,
  flags: TrainFlags,
): Promise<void> {
  const { folder, config } = flags.resume
    ? await resumedRun(command, io, data, flags)
    : await newRun(command, io, data, flags);
  const label = formatStructure(parseStructure(config.model.structure ?? 'dense'));
  const progress = new TrainingProgress(io, label, config.steps ?? 0);
  try {
    const result = await train(config, {
      folder,
      resume: flags.resume ?? false,
      signal: io.signal,
      onStep: (metrics) => progress.update(metrics),
    });
    progress.stop();
    if (flags.json) {
      const { config: resolved, ...numbers } = result;
      io.stdout.write(`${JSON.stringify({ folder, ...numbers, config: resolved })}\n`);
      return;
    }
    const { parameters, macsPerToken, step, valLoss } = result;
    io.stdout.write(
      `${formatShort(parameters)} parameters, ${formatShort(macsPerToken)} MACs a token, ${formatCount(step)} steps` +
        `${valLoss === null ? '' : `, validation loss ${valLoss.toFixed(4)}`}\n` +
        `Saved in ${folder}; try: einlinear sample ${folder}\n`,
    );
  } catch (error) {
    if (!(error instanceof EinlinearError) || error.code !== 'ABORTED') throw error;
    const { message, details } = error;
    const resume = `einlinear train --resume --out ${folder}`;
    throw new EinlinearError('ABORTED', `${message}; to continue: ${resume}`, details);
  } finally {
    progress.stop();
  }
}

/** The device of a run; says why it is not the GPU where that was left to us. */
function chooseDevice(io: CommandIO, flag: DeviceFlag): DeviceName {
  const { name, reason } = pickDevice(flag);
  if (reason !== null) io.stderr.write(`On the CPU (cuda: ${reason})\n`);
  return name;
}

interface PlannedRun {
  folder: string;
  config: TrainConfigInput;
}

/** A continued run keeps its settings: a flag that says otherwise is refused with both values. */
async function resumedRun(
  command: Command,
  io: CommandIO,
  data: string | undefined,
  flags: TrainFlags,
): Promise<PlannedRun> {
  if (flags.out === undefined) throw flagError('--resume needs --out, the folder of the run');
  const run = new RunFolder(flags.out);
  const config = await run.readConfig();
  const step = await run.checkpointStep();
  if (step === null) {
    throw flagError(
      `--resume: ${flags.out} holds no checkpoint yet; start again without --resume`,
      {
        out: flags.out,
      },
    );
  }
  const source = data === undefined ? undefined : await sourceName(data);
  if (source !== undefined && source !== config.source) {
    throw flagError(`--resume: the run was trained on ${config.source}, not on ${source}`, {
      expected: config.source,
      got: source,
    });
  }
  for (const [name, read] of Object.entries(OF_CONFIG)) {
    if (!isGiven(command, name)) continue;
    const given: unknown = flags[name as keyof TrainFlags];
    const before = read(config);
    const same =
      name === 'structure'
        ? formatStructure(parseStructure(String(given))) ===
          formatStructure(parseStructure(String(before)))
        : given === before;
    if (name === 'steps' && Number(given) < step) {
      throw flagError(
        `--steps ${Number(given)} contradicts --resume: the run in ${flags.out} is at step ${step}`,
        { given, step },
      );
    }
    // Another end does not change the steps already taken, unless the schedule depends on it.
    const movable = name === 'steps' && config.schedule === 'constant';
    if (!same && !movable) {
      throw flagError(
        `${flagOf(command, name)} ${String(given)} contradicts --resume: the run in ${flags.out} has ${String(before)}`,
        { flag: flagOf(command, name), given, run: before },
      );
    }
  }
  return {
    folder: flags.out,
    config: {
      ...config,
      steps: isGiven(command, 'steps') ? flags.steps : config.steps,
      threads: flags.threads ?? config.threads,
      device: isGiven(command, 'device') ? chooseDevice(io, flags.device) : config.device,
    },
  };
}

/** What a run remembers as its data: a data set's name or an absolute path. */
async function sourceName(data: string): Promise<string> {
  if (!(await isPath(data))) return data;
  return resolve(basename(data).match(/^(train|val)\.bin$/) ? dirname(data) : data);
}

function checkFlags(command: Command, flags: TrainFlags): void {
  const { dModel, headDim, warmup, steps, schedule } = flags;
  const flag = (name: string) => flagOf(command, name);
  if (dModel % headDim !== 0) {
    throw flagError(
      `${flag('dModel')} ${dModel} contradicts ${flag('headDim')} ${headDim}: expected a multiple of it`,
      { dModel, headDim },
    );
  }
  if (warmup !== undefined && warmup > steps) {
    throw flagError(`--warmup ${warmup} contradicts --steps ${steps}: expected at most as many`, {
      warmup,
      steps,
    });
  }
  if (flags.finalLr !== undefined && schedule === 'constant') {
    throw flagError(`--final-lr ${flags.finalLr} contradicts --schedule constant`, {
      finalLr: flags.finalLr,
    });
  }
}

async function newRun(
  command: Command,
  io: CommandIO,
  data: string | undefined,
  flags: TrainFlags,
): Promise<PlannedRun> {
  if (data === undefined) {
    throw flagError(
      `Expected data to train on: a text file, a folder or a data set (${DATASET_NAMES})`,
    );
  }
  checkFlags(command, flags);
  const source = await sourceName(data);
  const name = basename(source, extname(source));
  const structure = formatStructure(parseStructure(flags.structure));
  const slug = structure.replace(/[^\w.]+/g, '-').replace(/^-|-$/g, '');
  const folder = flags.out ?? join('runs', `${name}-${slug}`);
  const run = new RunFolder(folder);
  if (await run.hasCheckpoint()) {
    throw flagError(
      `--out ${folder} already holds a run: add --resume to continue it, or choose another folder`,
      { out: folder },
    );
  }
  const ready =
    isAbsolute(source) && (await hasTokenFiles(source)) ? await readTokenMeta(source) : null;
  const vocabSize = ready?.vocabSize ?? CHARACTER_COUNT;
  if (flags.finalLr !== undefined && flags.schedule === undefined && vocabSize <= 256) {
    throw flagError(
      `--final-lr ${flags.finalLr} needs --schedule cosine or linear: character models keep a constant rate`,
      { finalLr: flags.finalLr },
    );
  }
  const model: GPTConfig = {
    vocabSize,
    contextLength: flags.context,
    layers: flags.layers,
    dModel: flags.dModel,
    headDim: flags.headDim,
    dropout: flags.dropout,
    structure,
  };
  checkModel(model);
  // Nothing is written before everything else is checked.
  const meta = ready ?? (await prepareRun(source, run, flags.context, io));
  const { batch, gradAccumulation, steps, lr, warmup, schedule, finalLr, weightDecay } = flags;
  const { gradClip, seed, dtype, threads, evalEvery, evalBatches, logEvery } = flags;
  return {
    folder,
    config: {
      model,
      data: ready === null ? run.data : source,
      source,
      symbols: meta.symbols ?? null,
      batch,
      gradAccumulation,
      steps,
      lr,
      warmup,
      schedule,
      finalLr,
      weightDecay,
      gradClip,
      seed,
      dtype,
      device: chooseDevice(io, flags.device),
      threads: threads ?? null,
      evalEvery,
      evalBatches,
      logEvery,
      checkpointEvery: flags.checkpointEvery,
    },
  };
}

/** Refuses a model that cannot be, by building its smallest sibling: all blocks are alike. */
function checkModel(model: GPTConfig): void {
  const device = openDevice('cpu', { threads: 1 });
  try {
    new GPT({ ...model, layers: 1, vocabSize: 1, contextLength: 1 }, { device }).dispose();
  } finally {
    device.close();
  }
}

/** Makes token files from a text in the run folder. */
async function prepareRun(
  source: string,
  run: RunFolder,
  context: number,
  io: CommandIO,
): Promise<TokenMeta> {
  const { signal } = io;
  const { meta, tokens, documents } = await prepareText(source, run.data, { context, signal });
  const shown = isAbsolute(source) ? relative('', source) || source : source;
  io.stderr.write(
    `${shown}: ${formatCount(tokens.train)} characters to train on, ${formatCount(tokens.val)} to validate, ` +
      `${formatCount(documents.dropped)} documents dropped for other symbols\n`,
  );
  return meta;
}
