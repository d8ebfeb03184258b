import type { Command } from 'commander';
import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';

import {
  CHARACTERS,
  CHARACTER_COUNT,
  decodeCharacters,
  encodeCharacters,
  prepareText,
} from '../data';
import { makeFolder } from '../data/tokenFile';
import { GPT, type GPTConfig } from '../models';
import { lossComputePlot, savePlot, type LossPoint } from '../plot';
import {
  readMetrics,
  RunFolder,
  sampleTokens,
  train,
  type Spent,
  type TrainConfigInput,
  type TrainResult,
} from '../train';
import { writeAtomically } from '../train/atomicWrite';
import { flagError, numberWithin, wholeNumber } from './flags';
import { formatCount, formatDuration, formatShort, formatTable, wrapText } from './format';
import type { CommandIO } from './io';
import { sharedCompute } from './sharedCompute';
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
/** Says that a folder is the demo's own, whose last runs may be replaced. */
const MARKER = '.einlinear-demo';
/** Name of the plot, without extension. */
const PLOT = 'loss-compute';
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

/**
 * Takes a folder for the demo. What it holds under the demo's names must be the demo's own.
 *
 * @throws EinlinearError `INVALID_FLAG`
 */
async function claimFolder(out: string): Promise<void> {
  const exists = (name: string) =>
    access(join(out, name)).then(
      () => true,
      () => false,
    );
  if (await exists(MARKER)) return;
  const names = ['data', ...CONTENDERS.map(({ folder }) => folder), `${PLOT}.svg`, `${PLOT}.png`];
  for (const name of names) {
    if (!(await exists(name))) continue;
    throw flagError(
      `--out ${out} holds ${name}, which the demo did not write and would replace: choose another folder`,
      { out, name },
    );
  }
  await makeFolder(out);
  const text = 'The next demo replaces data, runs and plots of this folder.\n';
  await writeAtomically(join(out, MARKER), [Buffer.from(text, 'utf8')]);
}

/** What a contender came to. */
interface Outcome {
  contender: Contender;
  result: TrainResult;
  sample: string;
  /** Validation losses on the way. */
  curve: LossPoint[];
}

async function runContender(
  io: CommandIO,
  contender: Contender,
  config: TrainConfigInput,
  out: string,
  endsEarly: (spent: Spent) => boolean,
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
      endsEarly,
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
    const curve = (await readMetrics(run.metrics)).flatMap(({ macs, valLoss }) =>
      valLoss === undefined ? [] : [{ macs, loss: valLoss }],
    );
    return { contender, result, sample, curve };
  } finally {
    progress.stop();
  }
}

async function runDemo(io: CommandIO, flags: DemoFlags): Promise<void> {
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  // With --json stdout holds nothing but the result.
  const say = (text: string) => (flags.json ? io.stderr : io.stdout).write(`${text}\n`);

  await claimFolder(flags.out);
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
  // Where the machine gets slower than planned, each ends in its part of the time that is left now, the second also
  // where the first did: they are compared at the compute that both have spent, at the same place of their schedules.
  const begun = elapsed();
  const timeLeft = Math.max(0, flags.minutes * 60 - CLOSING_SECONDS - begun);
  let share = 0;
  let limit = Infinity;
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
    share += seconds[i] / stepMacs[i] / secondsPerMac;
    const deadline = begun + share * timeLeft;
    const endsEarly = ({ step, macs }: Spent) =>
      step >= EVALUATIONS && (macs >= limit || elapsed() >= deadline);
    const outcome = await runContender(io, contender, config, flags.out, endsEarly);
    if (outcome.result.step < steps) limit = outcome.result.macs;
    outcomes.push(outcome);
  }
  const comparison = compare(outcomes, limit < Infinity);

  const plot = await savePlot(
    lossComputePlot(
      outcomes.map(({ contender, curve }) => ({ name: contender.name, points: curve })),
      {
        title: 'Validation loss against compute',
        subtitle: 'Character GPTs on State of the Union addresses, 3 layers',
      },
    ),
    join(flags.out, PLOT),
  );
  if (flags.json) {
    const models = outcomes.map(({ contender, result, sample }) => {
      const { config, ...numbers } = result;
      return { name: contender.name, ...numbers, sample, config };
    });
    io.stdout.write(`${JSON.stringify({ seconds: elapsed(), models, comparison, plot })}\n`);
    return;
  }
  say(`\n${resultTable(outcomes)}\n`);
  say(verdict(comparison));
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

/** The losses that may be compared: those at the end, or at the compute that all spent where time ran out. */
interface Comparison {
  timeRanOut: boolean;
  macs: number;
  losses: { name: string; loss: number }[];
}

function compare(outcomes: readonly Outcome[], timeRanOut: boolean): Comparison {
  const { macs, losses } = sharedCompute(outcomes.map(({ curve }) => curve));
  return {
    timeRanOut,
    macs,
    losses: outcomes.map(({ contender, result }, i) => ({
      name: contender.name,
      // To the end both spent the same but for a part of a step.
      loss: timeRanOut ? losses[i] : (result.valLoss ?? NaN),
    })),
  };
}

function verdict({ timeRanOut, macs, losses }: Comparison): string {
  const [first, second] = [...losses].sort((a, b) => a.loss - b.loss);
  const gap = (second.loss - first.loss).toFixed(4);
  const result = `For the same compute ${first.name} ends ${gap} nats a character lower.`;
  if (!timeRanOut) return result;
  const numbers = losses.map(({ name, loss }) => `${name} ${loss.toFixed(4)}`).join(', ');
  return (
    'The machine became slower and time was up before the planned end, so that the models of the table differ in compute.\n' +
    `At ${formatShort(macs)} training MACs, which both have spent: ${numbers}.\n${result}`
  );
}
