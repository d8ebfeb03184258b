import type { Command } from 'commander';
import { stat } from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, relative, resolve } from 'node:path';

import { hasTokenFiles, isDatasetName, prepareText, readTokenMeta, type TokenMeta } from '../data';
import { EinlinearError } from '../errors';
import type { GPTConfig } from '../models';
import { formatStructure, parseStructure } from '../structure';
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
  } finally {
    progress.stop();
  }
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
  if (!(await run.hasCheckpoint())) {
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
    // More steps do not change those already taken, unless the schedule depends on where it ends.
    const longer =
      name === 'steps' && config.schedule === 'constant' && Number(given) >= config.steps;
    if (!same && !longer) {
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
      device: isGiven(command, 'device') ? pickDevice(io, flags.device) : config.device,
    },
  };
}

/** What a run remembers as its data: a data set's name or an absolute path. */
async function sourceName(data: string): Promise<string> {
  const exists = await stat(data).then(
    () => true,
    () => false,
  );
  if (!exists && isDatasetName(data)) return data;
  if (!exists) {
    throw new EinlinearError('IO', `Expected a text, a folder or a data set, found no ${data}`, {
      path: data,
    });
  }
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
    throw flagError('Expected data to train on: a text file, a folder or a data set (sotu)');
  }
  checkFlags(command, flags);
  const source = await sourceName(data);
  const name = basename(source, extname(source));
  const structure = formatStructure(parseStructure(flags.structure));
  const folder = flags.out ?? join('runs', `${name}-${structure.replace(/[^\w.]+/g, '-')}`);
  const run = new RunFolder(folder);
  if (await run.hasCheckpoint()) {
    throw flagError(
      `--out ${folder} already holds a run: add --resume to continue it, or choose another folder`,
      { out: folder },
    );
  }
  const { dataFolder, meta } = await findTokens(source, run, io);
  if (flags.finalLr !== undefined && flags.schedule === undefined && meta.vocabSize <= 256) {
    throw flagError(
      `--final-lr ${flags.finalLr} needs --schedule cosine or linear: character models keep a constant rate`,
      { finalLr: flags.finalLr },
    );
  }
  const model: GPTConfig = {
    vocabSize: meta.vocabSize,
    contextLength: flags.context,
    layers: flags.layers,
    dModel: flags.dModel,
    headDim: flags.headDim,
    dropout: flags.dropout,
    structure,
  };
  const { batch, gradAccumulation, steps, lr, warmup, schedule, finalLr, weightDecay } = flags;
  const { gradClip, seed, dtype, threads, evalEvery, evalBatches, logEvery } = flags;
  return {
    folder,
    config: {
      model,
      data: dataFolder,
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
      device: pickDevice(io, flags.device),
      threads: threads ?? null,
      evalEvery,
      evalBatches,
      logEvery,
      checkpointEvery: flags.checkpointEvery,
    },
  };
}

/** Token files as they are, or made from a text into the run folder. */
async function findTokens(
  source: string,
  run: RunFolder,
  io: CommandIO,
): Promise<{ dataFolder: string; meta: TokenMeta }> {
  if (isAbsolute(source) && (await hasTokenFiles(source))) {
    return { dataFolder: source, meta: await readTokenMeta(source) };
  }
  const { meta, tokens, documents } = await prepareText(source, run.data, { signal: io.signal });
  const shown = isAbsolute(source) ? relative('', source) || source : source;
  io.stderr.write(
    `${shown}: ${formatCount(tokens.train)} characters to train on, ${formatCount(tokens.val)} to validate, ` +
      `${formatCount(documents.dropped)} documents dropped for other symbols\n`,
  );
  return { dataFolder: run.data, meta };
}
