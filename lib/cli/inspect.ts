import type { Command } from 'commander';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

import { hasTokenFiles, openTokenData } from '../data';
import { EinlinearError } from '../errors';
import {
  describeEnvironment,
  readMetrics,
  readSafetensorsHeader,
  RunFolder,
  type Environment,
  type SafetensorsHeader,
} from '../train';
import { formatCount, formatPairs, formatShort, formatTable } from './format';
import type { CommandIO } from './io';

type Pairs = [string, string][];

/** Adds `inspect`. */
export function addInspectCommand(program: Command, io: CommandIO): void {
  program
    .command('inspect')
    .summary('describe this machine, a run or a file')
    .description(
      'Without a path: versions, processor, threads and backends, and why one is missing. ' +
        'With one: what a run folder, a folder of token files or a safetensors file holds.',
    )
    .argument('[path]', 'run folder, token files, checkpoint or other safetensors file')
    .option('--json', 'print as JSON')
    .addHelpText('after', '\nExample:\n  einlinear inspect runs/moe/checkpoint.safetensors\n')
    .action(async (path: string | undefined, { json }: { json?: true }) => {
      const { value, text } =
        path === undefined ? describeMachine(describeEnvironment()) : await describePath(path);
      io.stdout.write(json ? `${JSON.stringify(value)}\n` : `${text}\n`);
    });
}

interface Description {
  value: unknown;
  text: string;
}

function describeMachine(environment: Environment): Description {
  const { einlinear, node, platform, arch, cpu, cores, memoryBytes, backends } = environment;
  const pairs: Pairs = [
    ['einlinear', einlinear],
    ['node', node],
    ['platform', `${platform}-${arch}`],
    ['processor', `${cpu}, ${cores} cores, ${(memoryBytes / 2 ** 30).toFixed(1)} GiB`],
  ];
  for (const { name, available, reason, details } of backends) {
    const facts = Object.entries(details).map(([key, value]) => `${key} ${value}`);
    pairs.push([
      `backend ${name}`,
      available
        ? ['available', ...facts].join(', ')
        : `not available: ${reason ?? 'no reason given'}`,
    ]);
  }
  return { value: environment, text: formatPairs(pairs) };
}

async function describePath(path: string): Promise<Description> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(path)).isDirectory();
  } catch {
    throw new EinlinearError('IO', `Expected a file or a folder, found no ${path}`, { path });
  }
  if (!isFolder) {
    return basename(path).match(/^(train|val)\.bin$/)
      ? describeTokens(dirname(path))
      : describeSafetensors(path, await readSafetensorsHeader(path));
  }
  const run = new RunFolder(path);
  if (await run.hasRun()) return describeRun(run);
  if (await hasTokenFiles(path)) return describeTokens(path);
  throw new EinlinearError(
    'INVALID_FILE',
    `Expected ${path} to hold a run (config.json) or token files (train.bin, val.bin), found neither`,
    { path },
  );
}

async function describeRun(run: RunFolder): Promise<Description> {
  const config = await run.readConfig();
  const metrics = await readMetrics(run.metrics).catch(() => []);
  const last = metrics[metrics.length - 1];
  const evaluated = metrics.filter(({ valLoss }) => valLoss !== undefined).pop();
  const checkpoint = await run.checkpointStep();
  // An interrupted run saves between two lines of metrics.
  const step = Math.max(last?.step ?? 0, checkpoint ?? 0);
  const { model } = config;
  const pairs: Pairs = [
    ['run', run.path],
    ['data', config.source],
    ['structure', model.structure],
    [
      'model',
      `${model.layers} layers, width ${model.dModel}, ${model.heads} heads of ${model.headDim}`,
    ],
    ['tokens', `${model.vocabSize} symbols, context ${model.contextLength}`],
    ['steps', `${step} of ${config.steps}, checkpoint at ${checkpoint ?? 'none'}`],
  ];
  if (last !== undefined) {
    pairs.push([
      'compute',
      `${formatShort(last.tokens)} tokens, ${formatShort(last.macs)} MACs at step ${last.step}`,
    ]);
  }
  if (evaluated?.valLoss !== undefined) {
    pairs.push(['validation loss', `${evaluated.valLoss.toFixed(4)} at step ${evaluated.step}`]);
  }
  return {
    value: {
      kind: 'run',
      config,
      step,
      checkpoint,
      last: last ?? null,
      evaluated: evaluated ?? null,
    },
    text: formatPairs(pairs),
  };
}

async function describeTokens(folder: string): Promise<Description> {
  const data = await openTokenData(folder);
  try {
    const { meta, train, val } = data;
    const value = { kind: 'tokens', meta, train: train.length, val: val.length };
    const text = formatPairs([
      ['tokens', folder],
      ['vocabulary', `${meta.vocabSize} symbols, ${meta.dtype}`],
      ['train.bin', `${formatCount(train.length)} tokens`],
      ['val.bin', `${formatCount(val.length)} tokens`],
    ]);
    return { value, text };
  } finally {
    await data.close();
  }
}

function describeSafetensors(path: string, header: SafetensorsHeader): Description {
  const { entries, metadata } = header;
  const size = (shape: readonly number[]) => shape.reduce((product, axis) => product * axis, 1);
  const elements = entries.reduce((sum, { shape }) => sum + size(shape), 0);
  const bytes = entries.reduce((sum, { begin, end }) => sum + end - begin, 0);
  const pairs: Pairs = [
    ['file', path],
    [
      'tensors',
      `${entries.length}, ${formatCount(elements)} elements, ${formatCount(bytes)} bytes`,
    ],
    ...Object.entries(metadata).map(([key, value]): [string, string] => [
      `metadata ${key}`,
      value.length > 100 ? `${value.slice(0, 99)}…` : value,
    ]),
  ];
  const table = formatTable(
    ['name', 'dtype', 'shape'],
    entries.map(({ name, dtype, shape }) => [name, dtype, `[${shape.join(', ')}]`]),
  );
  const tensors = entries.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  return {
    value: { kind: 'safetensors', metadata, tensors },
    text: `${formatPairs(pairs)}\n\n${table}`,
  };
}
