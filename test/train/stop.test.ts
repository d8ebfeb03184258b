import { readdirSync, readFileSync } from 'node:fs';

import { GPT } from '../../lib/models';
import { device } from '../../lib/tensor';
import { loadCheckpoint, readMetrics, RunFolder, train } from '../../lib/train';
import { watchEventLoop } from '../support/eventLoop';
import { temporaryFolder } from '../support/temporaryFolder';
import { prepareTinyData, tinyConfig } from './tinyRun';

const path = temporaryFolder();
let data: string;

type LossOfModel = (this: GPT, ...args: Parameters<GPT['loss']>) => ReturnType<GPT['loss']>;

beforeAll(async () => {
  data = await prepareTinyData(path('data'));
});

test('a loss that is no number stops with the step and keeps the last good checkpoint', async () => {
  const folder = path('nan');
  const run = new RunFolder(folder);
  const good = tinyConfig(data, {}, { steps: 4, warmup: 0, schedule: 'constant' });
  await train(good, { folder });
  const kept = readFileSync(run.checkpoint);
  const bad = { ...good, steps: 12, lr: 1e30, checkpointEvery: 1, gradClip: 0 };
  await expect(train(bad, { folder, resume: true })).rejects.toMatchObject({
    code: 'NOT_FINITE',
    message: expect.stringMatching(/at step [4-9]\b.*kept/) as string,
  });
  // Whatever was saved meanwhile still trains.
  const { step } = await loadCheckpoint(run.checkpoint);
  expect(step).toBeGreaterThanOrEqual(4);
  if (step === 4) expect(readFileSync(run.checkpoint).equals(kept)).toBe(true);
  const { loss } = await train({ ...good, steps: step + 3 }, { folder, resume: true });
  expect(loss).toBeLessThan(5);
});

test('a run that blows up in its first steps keeps its untrained weights', async () => {
  const folder = path('nan-at-once');
  const bad = tinyConfig(data, {}, { warmup: 0, schedule: 'constant', lr: 1e30, gradClip: 0 });
  await expect(train(bad, { folder })).rejects.toMatchObject({
    code: 'NOT_FINITE',
    message: expect.stringContaining('checkpoint is kept in') as string,
  });
  const { step } = await loadCheckpoint(new RunFolder(folder).checkpoint);
  expect(step).toBe(0);
});

test('an abort before the first step saves too', async () => {
  const folder = path('early');
  await expect(
    train(tinyConfig(data), { folder, signal: AbortSignal.abort() }),
  ).rejects.toMatchObject({ code: 'ABORTED', details: { step: 0 } });
  expect(readdirSync(folder).sort()).toEqual([
    'checkpoint.safetensors',
    'config.json',
    'environment.json',
    'metrics.jsonl',
  ]);
});

test('training leaves nothing on the device, whether it ends, is aborted or fails', async () => {
  const cpu = device('cpu', { threads: 2 });
  try {
    // A first run fills caches that stay.
    await train(tinyConfig(data), { device: cpu });
    const before = cpu.memory();
    const structure = 'btt-moe:experts=4,k=2';
    await train(tinyConfig(data, { structure }), { device: cpu });
    await train(tinyConfig(data), { device: cpu, signal: AbortSignal.abort() }).catch(() => null);
    await train(tinyConfig(data, {}, { lr: 1e30, warmup: 0 }), { device: cpu }).catch(() => null);
    await train(tinyConfig(data, { vocabSize: 10 }), { device: cpu }).catch(() => null);
    await train(tinyConfig(data, { structure: 'btt-moe:experts=4,k=5' }), { device: cpu }).catch(
      () => null,
    );
    // Inside a step, with the loss of its first micro-batch still held.
    const { loss } = GPT.prototype as unknown as { loss: LossOfModel };
    const second = jest.spyOn(GPT.prototype, 'loss').mockImplementation(function (
      this: GPT,
      ...args
    ) {
      if (second.mock.calls.length === 4) throw new Error('out of luck');
      return loss.apply(this, args);
    });
    await expect(train(tinyConfig(data, {}, { evalEvery: 0 }), { device: cpu })).rejects.toThrow(
      'out of luck',
    );
    second.mockRestore();
    const { tensors, bytes } = cpu.memory();
    expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
    expect(bytes).toBe(0);
  } finally {
    cpu.close();
  }
});

test('a run that ends early is evaluated, saved and shown, and can still go on', async () => {
  const [cut, whole] = [path('early-end'), path('early-whole')];
  const onModel = jest.fn();
  const result = await train(tinyConfig(data), {
    folder: cut,
    onModel,
    endsEarly: ({ step, macs, tokens }) => step >= 7 && macs > tokens,
  });
  expect(result.step).toBe(7);
  expect(onModel).toHaveBeenCalledTimes(1);
  const run = new RunFolder(cut);
  const metrics = await readMetrics(run.metrics);
  expect(metrics[metrics.length - 1]).toMatchObject({ step: 7, valLoss: result.valLoss });
  expect((await loadCheckpoint(run.checkpoint)).step).toBe(7);
  const { valLoss } = await train(await run.readConfig(), { folder: cut, resume: true });
  expect(valLoss).toBe((await train(tinyConfig(data), { folder: whole })).valLoss);
});

test('the event loop stays free while steps run', async () => {
  const model = { dModel: 256, headDim: 64, contextLength: 64, layers: 3 };
  const config = tinyConfig(data, model, { batch: 16, steps: 12, evalEvery: 0, evalBatches: 1 });
  const [first, last] = [3, 11]; // without what goes before the first step and after the last
  /** Longest pause of the event loop as a share of a step's time. */
  const longestPause = async (): Promise<number> => {
    let started = 0;
    let stop: ReturnType<typeof watchEventLoop> | null = null;
    let share = Infinity;
    await train(config, {
      onStep: ({ step }) => {
        if (step === first) {
          started = performance.now();
          stop = watchEventLoop();
        }
        if (step !== last || stop === null) return;
        share = stop().longest / ((performance.now() - started) / (last - first));
      },
    });
    return share;
  };
  // Steps that block pause for as long as they take, every time; a machine with other work to do, now and then.
  const pauses: number[] = [];
  do pauses.push(await longestPause());
  while (pauses[pauses.length - 1] >= 0.75 && pauses.length < 5);
  expect(Math.min(...pauses)).toBeLessThan(0.75);
});

test('the event loop has its turns between the micro-batches of a step', async () => {
  // Small enough that queueing takes longer than computing.
  const model = { layers: 4, structure: 'btt-moe:experts=4,k=2', dropout: 0 };
  const steps = 12;
  const settings = { batch: 1, gradAccumulation: 16, steps, evalEvery: 0, evalBatches: 1 };
  const config = tinyConfig(data, model, settings);
  /** Of each step, the longest pause of the event loop as a share of its time. */
  const pauses = async (): Promise<number[]> => {
    let started = 0;
    let stop: ReturnType<typeof watchEventLoop> | null = null;
    const shares: number[] = [];
    await train(config, {
      onStep: ({ step }) => {
        if (stop !== null) shares.push(stop().longest / (performance.now() - started));
        started = performance.now();
        stop = step < steps - 1 ? watchEventLoop() : null;
      },
    });
    return shares;
  };
  // A step that is queued in one go pauses for all of it, every time; a machine with other work to do, now and then.
  let least = Infinity;
  for (let attempt = 0; attempt < 5 && least >= 0.3; attempt++) {
    least = Math.min(least, ...(await pauses()));
  }
  expect(least).toBeLessThan(0.3);
});

test('settings that cannot be are named', async () => {
  const bad: [object, RegExp][] = [
    [{ batch: 0 }, /batch/],
    [{ steps: 1.5 }, /steps/],
    [{ lr: -1 }, /lr/],
    [{ schedule: 'linearly' }, /schedule/],
    [{ dtype: 'float16' }, /dtype/],
    [{ warmup: 30 }, /warmup.*30/],
    [{ learningRate: 1 }, /learningRate/],
  ];
  for (const [settings, message] of bad) {
    await expect(train({ ...tinyConfig(data), ...settings })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  }
  await expect(train(tinyConfig(data, { vocabSize: 50 }))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    details: { data: 96, model: 50 },
  });
  await expect(train(tinyConfig(data, { contextLength: 100000 }))).rejects.toMatchObject({
    code: 'NO_DATA',
  });
  await expect(train(tinyConfig(data), { resume: true })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test('the metrics count tokens and compute and describe the gates', async () => {
  const folder = path('metrics');
  const structure = 'btt-moe:experts=4,k=2';
  const result = await train(tinyConfig(data, { structure }), { folder });
  const metrics = await readMetrics(new RunFolder(folder).metrics);
  const last = metrics[metrics.length - 1];
  const model = new GPT(result.config.model);
  expect(result.macsPerToken).toBe(model.macsPerToken().total);
  expect(result.parameters).toBe(model.parameterCount());
  model.dispose();
  const tokens = 20 * 2 * 4 * 16;
  expect(last).toMatchObject({
    step: 20,
    tokens,
    macs: tokens * result.macsPerToken,
    flops: 6 * tokens * result.macsPerToken,
    valLoss: result.valLoss,
  });
  expect(last.gates?.length).toBe(2 * 6);
  for (const { perplexity, averagePerplexity, usage } of last.gates ?? []) {
    expect(perplexity).toBeGreaterThanOrEqual(1);
    expect(perplexity).toBeLessThanOrEqual(averagePerplexity * 1.0001);
    expect(averagePerplexity).toBeLessThanOrEqual(4.0001);
    expect(usage.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 5);
  }
  expect(last.tokensPerSecond).toBeGreaterThan(0);
  expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: 21 }, (_, i) => i));
});
