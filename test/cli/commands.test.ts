import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { RunFolder, writeSafetensors } from '../../lib/train';
import { prose } from '../support/prose';
import { temporaryFolder } from '../support/temporaryFolder';
import { preferredDevice } from '../../lib/tensor';
import { runCli } from './runCli';

const path = temporaryFolder();
const TINY =
  '--layers 1 --d-model 16 --head-dim 8 --context 16 --batch 4 --steps 30 --eval-batches 2'.split(
    ' ',
  );

async function json(args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await runCli([...args, '--json']);
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout.trim().split('\n').length).toBe(1);
  return JSON.parse(stdout) as Record<string, unknown>;
}

beforeAll(() => {
  writeFileSync(path('text.txt'), prose(300));
});

test('train on a text file, sample from it, inspect it', async () => {
  const out = path('run');
  const trained = await runCli(['train', path('text.txt'), ...TINY, '--out', out]);
  expect(trained).toMatchObject({ status: 0 });
  expect(trained.stdout).toMatch(/validation loss \d\.\d{4}/);
  expect(trained.stderr).toMatch(/characters to train on/);
  expect(trained.stderr).toMatch(/step 30\/30 .*loss \d.*tokens\/s/);
  for (const file of [
    'config.json',
    'environment.json',
    'metrics.jsonl',
    'checkpoint.safetensors',
  ]) {
    expect(existsSync(path('run', file))).toBe(true);
  }

  // Why there is no GPU is said where the device was left to us, not where a run goes on as it was.
  const explained = (stderr: string): boolean => /On the CPU \(cuda: .+\)/.test(stderr);
  expect(explained(trained.stderr)).toBe(preferredDevice().name === 'cpu');
  const resumed = await runCli(['train', '--resume', '--out', out]);
  expect(resumed).toMatchObject({ status: 0 });
  expect(explained(resumed.stderr)).toBe(false);

  const sampled = await runCli(['sample', out, '--prompt', 'The people', '--tokens', '50']);
  expect(sampled).toMatchObject({ status: 0, stderr: '' });
  expect(sampled.stdout).toMatch(/^The people[\n -~]{50}\n$/);
  const options = ['--temperature', '0.5', '--top-k', '5', '--top-p', '0.9', '--seed', '3'];
  const first = await json(['sample', out, '--tokens', '20', ...options]);
  const checkpoint = path('run', 'checkpoint.safetensors');
  expect(await json(['sample', checkpoint, '--tokens', '20', ...options])).toEqual(first);
  expect(first.text).toHaveLength(20);
  const odd = await runCli(['sample', out, '--prompt', 'caf\u00e9']);
  expect(odd).toMatchObject({ status: 1, stderr: expect.stringContaining('\u00e9') as string });

  const run = await json(['inspect', out]);
  expect(run).toMatchObject({ kind: 'run', checkpoint: 30, last: { step: 30 } });
  const { stdout } = await runCli(['inspect', out]);
  expect(stdout).toMatch(/30 of 30, checkpoint at 30/);
  const inside = await runCli(['inspect', checkpoint]);
  expect(inside.stdout).toMatch(/tokenEmbedding\.weight +F32 +\[96, 16\]/);
});

test('train says the same as JSON and nothing else on stdout', async () => {
  const args = ['train', path('text.txt'), ...TINY, '--structure', 'btt-moe:experts=4,k=2'];
  const result = await json([...args, '--out', path('json')]);
  expect(result).toMatchObject({
    folder: path('json'),
    step: 30,
    tokens: 30 * 4 * 16,
    config: { steps: 30, model: { structure: 'btt-moe:experts=4' } },
  });
  expect(result.valLoss as number).toBeLessThan(4.5);
});

test('train takes a folder of texts and a pair of token files of nanoGPT', async () => {
  mkdirSync(path('texts'));
  writeFileSync(path('texts', 'a.txt'), prose(100));
  writeFileSync(path('texts', 'b.txt'), prose(120));
  const texts = await json(['train', path('texts'), ...TINY, '--out', path('from-texts')]);
  expect(texts).toMatchObject({ step: 30, config: { model: { vocabSize: 96 } } });

  mkdirSync(path('bin'));
  const tokens = Uint16Array.from({ length: 3000 }, (_, i) => (i * i) % 5000);
  for (const name of ['train.bin', 'val.bin']) {
    writeFileSync(path('bin', name), new Uint8Array(tokens.buffer));
  }
  const bin = await json(['train', path('bin'), ...TINY, '--out', path('from-bin')]);
  expect(bin).toMatchObject({
    config: { symbols: null, schedule: 'cosine', model: { vocabSize: 50304 } },
  });
  const sampled = await runCli(['sample', path('from-bin'), '--tokens', '3']);
  expect(sampled.stdout).toMatch(/^(\d+ ){3}\n$/);
  const prompt = await runCli(['sample', path('from-bin'), '--prompt', 'x']);
  expect(prompt).toMatchObject({ status: 2 });
  // The file itself stands for its folder.
  const file = path('bin', 'train.bin');
  expect(await json(['inspect', file])).toMatchObject({ kind: 'tokens', train: 3000, val: 3000 });
});

test('prepare makes token files', async () => {
  const out = path('prepared');
  const result = await json([
    'prepare',
    path('text.txt'),
    '--out',
    out,
    '--validation-fraction',
    '0.2',
  ]);
  const { tokens } = result as { tokens: { train: number; val: number } };
  expect(tokens.val / (tokens.train + tokens.val)).toBeCloseTo(0.2, 1);
  expect(readFileSync(path('prepared', 'train.bin')).length).toBe(tokens.train);
  expect(await json(['inspect', out])).toMatchObject({ kind: 'tokens', ...tokens });
});

test('inspect describes the machine and other files', async () => {
  const machine = await json(['inspect']);
  expect(machine).toMatchObject({
    node: process.version,
    backends: [{ name: 'cpu', available: true }, { name: 'cuda' }],
  });
  expect((await runCli(['inspect'])).stdout).toMatch(/backend cpu +available/);
  const data = Float32Array.from([1]);
  const file = path('foreign.safetensors');
  await writeSafetensors(file, new Map([['w', { dtype: 'F32', shape: [1], data }]]), { by: 'me' });
  expect(await json(['inspect', file])).toEqual({
    kind: 'safetensors',
    metadata: { by: 'me' },
    tensors: [{ name: 'w', dtype: 'F32', shape: [1] }],
  });
  expect(await runCli(['sample', file])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('[INVALID_FILE]') as string,
  });
  mkdirSync(path('void'));
  expect((await runCli(['inspect', path('void')])).stderr).toMatch(/INVALID_FILE/);
  expect((await runCli(['inspect', path('missing')])).stderr).toMatch(/IO/);
});

test('a longer run that was interrupted goes on to its new end', async () => {
  const out = ['--out', path('extended')];
  const run = new RunFolder(path('extended'));
  const tiny = [...TINY, '--log-every', '1', '--eval-every', '0'];
  expect(await runCli(['train', path('text.txt'), ...tiny, ...out])).toMatchObject({ status: 0 });
  // Ctrl-C at step 33 or later, as the line of metrics is written.
  const controller = new AbortController();
  const watch = setInterval(() => {
    if (readFileSync(run.metrics, 'utf8').includes('"step":33,')) controller.abort();
  }, 1);
  const args = ['train', '--resume', ...out];
  const cut = await runCli([...args, '--steps', '5000'], { signal: controller.signal });
  clearInterval(watch);
  expect(cut).toMatchObject({ status: 130 });
  expect(cut.stderr).toContain(`to continue: einlinear train --resume --out ${run.path}`);
  const step = (await run.checkpointStep()) ?? 0;
  expect(step).toBeGreaterThanOrEqual(33);
  expect(await json(['inspect', run.path])).toMatchObject({ step, config: { steps: 5000 } });
  expect((await runCli(['inspect', run.path])).stdout).toContain(`${step} of 5000`);

  const back = await runCli([...args, '--steps', String(step - 1)]);
  expect(back).toMatchObject({
    status: 2,
    stderr: expect.stringContaining(`--steps ${step - 1} contradicts --resume`) as string,
  });
  expect(await json([...args, '--steps', String(step + 5)])).toMatchObject({ step: step + 5 });
  // It is finished now; its result is still known.
  const { stdout } = await runCli(args);
  expect(stdout).toMatch(new RegExp(`${step + 5} steps, validation loss \\d`));
});

test('a run folder of its own is named for data and structure', async () => {
  const before = process.cwd();
  process.chdir(path());
  try {
    const theta = ['--structure', '(0.5|0|0.5|0|0.5|0.5|0.25)'];
    const { folder } = await json(['train', path('text.txt'), ...TINY, ...theta]);
    expect(folder).toBe(join('runs', 'text-0.5-0-0.5-0-0.5-0.5-0.25'));
  } finally {
    process.chdir(before);
  }
});

test('bench layers times what it is asked for, and an abort ends it with the status of Ctrl-C', async () => {
  const args = ['bench', 'layers', '--layers', 'btt-r1,dense', '--d', '16', '--tokens', '8'];
  const { status, stdout } = await runCli([...args, '--repeats', '1', '--threads', '1']);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^(btt-r1 +d=16 .*\n){2}(dense +d=16 .*\n){2}$/);
  expect(await runCli(args, { signal: AbortSignal.abort() })).toMatchObject({
    status: 130,
    stdout: '',
    stderr: expect.stringContaining('[ABORTED]') as string,
  });
  const env = { EINLINEAR_THREADS: 'many' };
  expect(await runCli(args, { env })).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("EINLINEAR_THREADS 'many'") as string,
  });
});

test('an abort ends with the status of Ctrl-C', async () => {
  const args = ['train', path('text.txt'), ...TINY, '--out', path('aborted')];
  expect(await runCli(args, { signal: AbortSignal.abort() })).toMatchObject({
    status: 130,
    stderr: expect.stringContaining('[ABORTED]') as string,
  });
});
