import type { Command } from 'commander';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import {
  CHARACTERS,
  CHARACTER_COUNT,
  decodeCharacters,
  encodeCharacters,
  prepareText,
} from '../data';
import { GPT, type GPTConfig } from '../models';
import { lossComputePlot, savePlot } from '../plot';
import {
  readMetrics,
  RunFolder,
  sampleTokens,
  train,
  type TrainConfigInput,
  type TrainResult,
} from '../train';
import { numberWithin, wholeNumber } from './flags';
import { formatCount, formatDuration, formatShort, formatTable, wrapText } from './format';
import type { CommandIO } from './io';
import { TrainingProgress } from './trainingProgress';

interface DemoFlags {
  out: string;
  minutes: number;
  seed: number;
  threads?: number;
  json?: true;
}

interface Contender {
  name: string;
  folder: string;
  model: GPTConfig;
}

// Small steps and a short context learn the most from a minute of a CPU.
const CONTEXT = 64;
const BATCH = 16;
const LEARNING_RATE = 6e-3;
/** Points of each curve. */
const EVALUATIONS = 12;
/** An evaluation runs only forward: a third of the work of a step on the same rows. */
const STEP_PER_FORWARD = 1 / 3;
/** Share of a run that may go into evaluations. */
const EVALUATION_SHARE = 0.1;
const MAX_EVALUATION_BATCHES = 64;
/** Steps whose time is taken; the first ones only warm up. */
const CALIBRATION_STEPS = 24;
const WARM_UP_STEPS = 8;
/** Time for samples and plot. */
const CLOSING_SECONDS = 6;
/** Part of the time left that is planned with: machines get slower when they are busy or hot. */
const PLANNED_SHARE = 0.85;
const PROMPT = 'The people of the United States ';
const SAMPLE_CHARACTERS = 400;

const SHARED = { vocabSize: CHARACTER_COUNT, contextLength: CONTEXT, layers: 3, headDim: 32 };

/** Two models that cost the same for a token within 3 %: the mixture is wider and holds several times the parameters. */
const CONTENDERS: readonly Contender[] = [
  { name: 'dense', folder: 'dense', model: { ...SHARED, dModel: 64, structure: 'dense' } },
  {
    name: 'BTT-MoE',
    folder: 'btt-moe',
    model: { ...SHARED, dModel: 96, structure: 'btt-moe:experts=8,k=2' },
  },
];

/** Adds `demo`. */
export function addDemoCommand(program: Command, io: CommandIO): void {
  program
    .command('demo')
    .summary('train a dense GPT and a BTT mixture of experts for the same compute')
    .description(
      'Train two GPTs on State of the Union addresses for the same number of MACs, one dense, one with a BTT ' +
        'mixture of experts (8, of which 2 are active) in every linear layer, and compare them.',
    )
    .option('--out <folder>', 'where runs and plots go', 'demo-output')
    .option('--minutes <x>', 'time for everything', numberWithin(0.2, 1440), 2.75)
    .option('--seed <n>', 'decides weights and batches', wholeNumber(0), 0)
    .option('--threads <n>', 'CPU threads (all)', wholeNumber(1))
    .option('--json', 'print the results as JSON')
    .addHelpText('after', '\nExample:\n  einlinear demo --minutes 10 --out demo-output\n')
    .action((flags: DemoFlags) => runDemo(io, flags));
}

function settings(contender: Contender, data: string, flags: DemoFlags): TrainConfigInput {
  return {
    model: contender.model,
    data,
    source: 'sotu',
    symbols: CHARACTERS,
    batch: BATCH,
    lr: LEARNING_RATE,
    seed: flags.seed,
    threads: flags.threads ?? null,
    schedule: 'cosine',
  };
}

/** Seconds of one step, warmed up. */
async function measureStep(config: TrainConfigInput, signal: AbortSignal): Promise<number> {
  const times: number[] = [];
  await train(
    { ...config, steps: CALIBRATION_STEPS, evalEvery: 0, evalBatches: 1, warmup: 0 },
    { signal, onStep: () => times.push(performance.now()) },
  );
  // The last step is reported after its evaluation.
  const [first, last] = [times[WARM_UP_STEPS], times[times.length - 2]];
  return (last - first) / 1000 / (times.length - 2 - WARM_UP_STEPS);
}

function macsPerToken(config: GPTConfig): number {
  const model = new GPT(config);
  try {
    return model.macsPerToken().total;
  } finally {
    model.dispose();
  }
}

/** What a contender came to. */
interface Outcome {
  contender: Contender;
  result: TrainResult;
  sample: string;
}

async function runContender(
  io: CommandIO,
  contender: Contender,
  config: TrainConfigInput,
  out: string,
): Promise<Outcome> {
  const run = new RunFolder(join(out, contender.folder));
  for (const file of [run.config, run.metrics, run.checkpoint, run.environment]) {
    await rm(file, { force: true });
  }
  const progress = new TrainingProgress(io, contender.name.padEnd(7), config.steps ?? 0);
  let sample = '';
  try {
    const result = await train(config, {
      folder: run.path,
      signal: io.signal,
      onStep: (metrics) => progress.update(metrics),
      onModel: async (model) => {
        progress.stop();
        const prompt = encodeCharacters(`\n${PROMPT}`);
        const options = { temperature: 0.7, seed: config.seed ?? 0, signal: io.signal };
        const ids: number[] = [];
        for await (const id of sampleTokens(model, prompt, SAMPLE_CHARACTERS, options))
          ids.push(id);
        sample = PROMPT + decodeCharacters(ids);
      },
    });
    return { contender, result, sample };
  } finally {
    progress.stop();
  }
}

async function runDemo(io: CommandIO, flags: DemoFlags): Promise<void> {
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  // With --json stdout holds nothing but the result.
  const say = (text: string) => (flags.json ? io.stderr : io.stdout).write(`${text}\n`);

  const data = join(flags.out, 'data');
  const { tokens } = await prepareText('sotu', data, { signal: io.signal });
  say(
    `Data: State of the Union addresses, ${formatCount(tokens.train)} characters to train on, ` +
      `${formatCount(tokens.val)} held out, ${CHARACTER_COUNT} symbols.`,
  );
  const costs = CONTENDERS.map(({ model }) => macsPerToken(model));
  say(
    'Two GPTs of 3 layers that cost about the same for a token:\n' +
      `  dense    width ${CONTENDERS[0].model.dModel}, ${formatShort(costs[0])} MACs a token: plain matrices everywhere\n` +
      `  BTT-MoE  width ${CONTENDERS[1].model.dModel}, ${formatShort(costs[1])} MACs a token: in every linear layer 8 block tensor-train experts, 2 of them active`,
  );
  const configs = CONTENDERS.map((contender) => settings(contender, data, flags));
  const seconds: number[] = [];
  for (const config of configs) seconds.push(await measureStep(config, io.signal));

  // Both spend the same number of MACs; the slower one in time decides how many there are.
  const available = (flags.minutes * 60 - elapsed() - CLOSING_SECONDS) * PLANNED_SHARE;
  const training = Math.max(0, available) * (1 - EVALUATION_SHARE);
  const stepMacs = costs.map((macs) => macs * BATCH * CONTEXT);
  const secondsPerMac = seconds.reduce((sum, value, i) => sum + value / stepMacs[i], 0);
  const budget = Math.max(training / secondsPerMac, EVALUATIONS * Math.max(...stepMacs));
  say(
    `Each is trained for ${formatShort(budget)} forward MACs, which takes this machine about ` +
      `${formatDuration(training / (1 - EVALUATION_SHARE))} for both.\n`,
  );
  const outcomes: Outcome[] = [];
  for (const [i, contender] of CONTENDERS.entries()) {
    const steps = Math.round(budget / stepMacs[i]);
    const evalBatches = Math.floor((EVALUATION_SHARE * steps) / EVALUATIONS / STEP_PER_FORWARD);
    const config: TrainConfigInput = {
      ...configs[i],
      steps,
      warmup: Math.max(1, Math.round(steps * 0.05)),
      evalEvery: Math.ceil(steps / EVALUATIONS),
      evalBatches: Math.min(MAX_EVALUATION_BATCHES, Math.max(1, evalBatches)),
      checkpointEvery: 0,
    };
    outcomes.push(await runContender(io, contender, config, flags.out));
  }

  const series = await Promise.all(
    CONTENDERS.map(async ({ name, folder }) => ({
      name,
      points: (await readMetrics(new RunFolder(join(flags.out, folder)).metrics)).flatMap(
        ({ macs, valLoss }) => (valLoss === undefined ? [] : [{ macs, loss: valLoss }]),
      ),
    })),
  );
  const plot = await savePlot(
    lossComputePlot(series, {
      title: 'Validation loss against compute',
      subtitle: 'Character GPTs on State of the Union addresses, 3 layers',
    }),
    join(flags.out, 'loss-compute'),
  );
  if (flags.json) {
    const models = outcomes.map(({ contender, result, sample }) => {
      const { config, ...numbers } = result;
      return { name: contender.name, ...numbers, sample, config };
    });
    io.stdout.write(`${JSON.stringify({ seconds: elapsed(), models, plot })}\n`);
    return;
  }
  say(`\n${resultTable(outcomes)}\n`);
  say(verdict(outcomes));
  for (const { contender, sample } of outcomes) {
    say(`\n${contender.name} writes:\n${wrapText(sample, 96)}`);
  }
  say(`\nPlot: ${plot.svg}\n      ${plot.png}`);
  say(`Runs: ${outcomes.map(({ contender }) => join(flags.out, contender.folder)).join(', ')}`);
  say(`Time: ${formatDuration(elapsed())}`);
}

function resultTable(outcomes: readonly Outcome[]): string {
  return formatTable(
    ['model', 'parameters', 'MACs/token', 'training MACs', 'validation loss', 'tokens/s'],
    outcomes.map(({ contender, result }) => [
      contender.name,
      formatShort(result.parameters),
      formatShort(result.macsPerToken),
      formatShort(result.macs),
      result.valLoss?.toFixed(4) ?? '–',
      result.tokensPerSecond === null ? '–' : formatCount(result.tokensPerSecond),
    ]),
  );
}

function verdict(outcomes: readonly Outcome[]): string {
  const [first, second] = [...outcomes].sort(
    (a, b) => (a.result.valLoss ?? Infinity) - (b.result.valLoss ?? Infinity),
  );
  const gap = (second.result.valLoss ?? NaN) - (first.result.valLoss ?? NaN);
  return `For the same compute ${first.contender.name} ends ${gap.toFixed(4)} nats a character lower.`;
}
