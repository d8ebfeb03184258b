import { appendFileSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

import type { EinlinearError } from '../../lib/errors';
import {
  loadCheckpoint,
  readMetrics,
  readSafetensors,
  RunFolder,
  train,
  writeSafetensors,
  type Metrics,
  type TrainConfig,
  type TrainConfigInput,
} from '../../lib/train';
import { Tensor } from '../../lib/tensor';
import { temporaryFolder } from '../support/temporaryFolder';
import { prepareTinyData, tinyConfig } from './tinyRun';

const path = temporaryFolder();
let data: string;

beforeAll(async () => {
  data = await prepareTinyData(path('data'));
});

/** Trains and aborts after `step`, like Ctrl-C. */
async function trainUntil(step: number, config: TrainConfigInput, folder: string): Promise<void> {
  const controller = new AbortController();
  const error: unknown = await train(config, {
    folder,
    signal: controller.signal,
    onStep: (metrics) => {
      if (metrics.step >= step) controller.abort();
    },
  }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'ABORTED' });
}

async function resume(folder: string): Promise<void> {
  await train(await new RunFolder(folder).readConfig(), { folder, resume: true });
}

/** Everything of a checkpoint in a form that compares bit by bit. */
async function contentOf(folder: string) {
  const { config, model, optimizer, ...progress } = await loadCheckpoint(
    new RunFolder(folder).checkpoint,
  );
  const bits = ([name, { data: values }]: [string, { data: Float32Array }]) => [
    name,
    Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64'),
  ];
  return {
    progress,
    config,
    model: [...model].map(bits),
    optimizer: [...optimizer.tensors].map(bits),
    optimizerStep: optimizer.step,
  };
}

async function metricsOf(folder: string) {
  const metrics = await readMetrics(new RunFolder(folder).metrics);
  return metrics.map((line): Metrics => ({ ...line, tokensPerSecond: 0 }));
}

describe.each(['dense', 'btt-moe:experts=4,k=2', 'moe:experts=4,k=2', 'btt:rank=2'])(
  'a run of %s',
  (structure) => {
    const slug = structure.replace(/\W+/g, '-');

    test('stopped in the middle and resumed ends in the very same bits', async () => {
      const config = tinyConfig(data, { structure });
      const [whole, parts] = [path(`${slug}-whole`), path(`${slug}-parts`)];
      const result = await train(config, { folder: whole });
      expect(result.step).toBe(20);
      await trainUntil(10, config, parts);
      const { progress } = await contentOf(parts);
      expect(progress.step).toBeGreaterThanOrEqual(10);
      expect(progress.step).toBeLessThan(20);
      await resume(parts);
      expect(await contentOf(parts)).toEqual(await contentOf(whole));
      expect(await metricsOf(parts)).toEqual(await metricsOf(whole));
    });
  },
);

test('the event loop has its turns while the tensors of a checkpoint are loaded', async () => {
  const folder = path('turns');
  await train(tinyConfig(data, {}, { steps: 1, warmup: 0 }), { folder });
  const { model, optimizer } = await loadCheckpoint(new RunFolder(folder).checkpoint);
  const spy = jest.spyOn(Tensor.prototype, 'copyFrom');
  const loaded = () => spy.mock.calls.filter(([source]) => source instanceof Float32Array).length;
  let [before, most, ended] = [0, 0, false];
  const watch = (): void => {
    most = Math.max(most, loaded() - before);
    before = loaded();
    if (!ended) setImmediate(watch);
  };
  watch();
  await resume(folder);
  ended = true;
  expect(loaded()).toBe(model.size + optimizer.tensors.size);
  expect(most).toBe(1);
  spy.mockRestore();
});

test('the loss falls', async () => {
  const config = tinyConfig(data, { dropout: 0 }, { steps: 60, evalEvery: 60, lr: 0.01 });
  const { valLoss, loss } = await train(config);
  expect(valLoss).toBeLessThan(3.2);
  expect(loss).toBeLessThan(3.2);
});

test('a crash after the checkpoint leaves lines that a resumed run replaces', async () => {
  const folder = path('crashed');
  await trainUntil(8, tinyConfig(data), folder);
  const run = new RunFolder(folder);
  const before = await metricsOf(folder);
  appendFileSync(
    run.metrics,
    '{"step":19,"tokens":1,"macs":1,"flops":1,"loss":99}\n{"step":20,"to',
  );
  await resume(folder);
  const after = await metricsOf(folder);
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.map(({ step }) => step)).toEqual(Array.from({ length: 21 }, (_, step) => step));
  expect(after.every(({ loss }) => loss === undefined || loss < 90)).toBe(true);
});

test('the thread count does not change the result', async () => {
  const structure = 'btt-moe:experts=4,k=2';
  const folders = [1, 2].map((threads) => path(`threads-${threads}`));
  for (const [i, folder] of folders.entries()) {
    await train(tinyConfig(data, { structure }, { threads: i + 1 }), { folder });
  }
  const [one, two] = await Promise.all(folders.map(contentOf));
  expect(two.model).toEqual(one.model);
  expect(two.optimizer).toEqual(one.optimizer);
});

test('a finished run can be resumed and stays as it is; a running one is not overwritten', async () => {
  const folder = path('finished');
  await train(tinyConfig(data), { folder });
  const before = await contentOf(folder);
  await resume(folder);
  expect(await contentOf(folder)).toEqual(before);
  await expect(train(tinyConfig(data), { folder })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test('the checkpoint of another model lists missing and unexpected names', async () => {
  const [dense, moe, mixed] = [path('m-dense'), path('m-moe'), path('m-mixed')];
  await train(tinyConfig(data, {}, { steps: 1, warmup: 0 }), { folder: dense });
  await train(tinyConfig(data, { structure: 'btt-moe:experts=4,k=2' }, { steps: 1, warmup: 0 }), {
    folder: moe,
  });
  mkdirSync(mixed);
  for (const name of ['config', 'metrics', 'environment'] as const) {
    copyFileSync(new RunFolder(dense)[name], new RunFolder(mixed)[name]);
  }
  copyFileSync(new RunFolder(moe).checkpoint, new RunFolder(mixed).checkpoint);
  const error: unknown = await resume(mixed).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'CHECKPOINT_MISMATCH' });
  const { details, message } = error as EinlinearError;
  expect((details.missing as string[]).length).toBeGreaterThan(0);
  expect((details.unexpected as string[]).length).toBeGreaterThan(0);
  for (const name of [...(details.missing as string[]), ...(details.unexpected as string[])]) {
    expect(message).toContain(name);
  }
});

test('a refused continuation leaves the run as it was', async () => {
  const [folder, other] = [path('refused'), path('refused-data')];
  await prepareTinyData(other);
  await train(tinyConfig(other, {}, { steps: 6, evalEvery: 2 }), { folder });
  const run = new RunFolder(folder);
  // Lines after the checkpoint, which a continuation would replace.
  appendFileSync(run.metrics, '{"step":7,"tokens":1,"macs":1,"flops":1}\n');
  const files = () => [run.metrics, run.config].map((file) => readFileSync(file, 'utf8'));
  const before = files();
  const config = await run.readConfig();
  for (const [changed, code] of [
    [{ steps: 5 }, 'INVALID_ARGUMENT'],
    [{ model: { ...config.model, dModel: 64 } }, 'CHECKPOINT_MISMATCH'],
    [{ model: { ...config.model, layers: 3 } }, 'CHECKPOINT_MISMATCH'],
    [{ model: { ...config.model, contextLength: 100_000 } }, 'NO_DATA'],
  ] as const) {
    const again = train({ ...config, ...changed }, { folder, resume: true });
    await expect(again).rejects.toMatchObject({ code });
    expect(files()).toEqual(before);
  }
});

test('the settings of a continued run are kept for the next', async () => {
  const folder = path('settings');
  await train(tinyConfig(data, {}, { steps: 4, schedule: 'constant' }), { folder });
  const run = new RunFolder(folder);
  const config = await run.readConfig();
  await train({ ...config, steps: 6, threads: 1 }, { folder, resume: true });
  expect(await run.readConfig()).toEqual({ ...config, steps: 6, threads: 1 });
});

test('names of another model are told before the size of other data', async () => {
  const [folder, other] = [path('both'), path('both-data')];
  await prepareTinyData(other);
  await train(tinyConfig(other, {}, { steps: 1, warmup: 0 }), { folder });
  const bytes = readFileSync(`${other}/train.bin`);
  writeFileSync(`${other}/train.bin`, bytes.subarray(0, bytes.length - 10));
  const config = await new RunFolder(folder).readConfig();
  const model = { ...config.model, layers: 3 };
  await expect(train({ ...config, model }, { folder, resume: true })).rejects.toMatchObject({
    code: 'CHECKPOINT_MISMATCH',
    message: expect.stringContaining('missing: blocks.2.') as string,
  });
});

test('a checkpoint cannot have more layers than tensors', async () => {
  const folder = path('lying');
  await train(tinyConfig(data, {}, { steps: 0, warmup: 0 }), { folder });
  const { checkpoint } = new RunFolder(folder);
  const { tensors, metadata } = await readSafetensors(checkpoint);
  const config = JSON.parse(metadata.config) as TrainConfig;
  config.model.layers = 1e9;
  await writeSafetensors(checkpoint, tensors, { ...metadata, config: JSON.stringify(config) });
  await expect(loadCheckpoint(checkpoint)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    message: expect.stringContaining('1000000000 layers') as string,
  });
});

test('a run does not go on with other training data', async () => {
  const [folder, other] = [path('changed'), path('changed-data')];
  await prepareTinyData(other);
  await trainUntil(2, tinyConfig(other, {}, { steps: 6 }), folder);
  const bytes = readFileSync(`${other}/train.bin`);
  writeFileSync(`${other}/train.bin`, bytes.subarray(0, bytes.length - 10));
  await expect(resume(folder)).rejects.toMatchObject({
    code: 'CHECKPOINT_MISMATCH',
    details: { expected: bytes.length, got: bytes.length - 10 },
  });
});
