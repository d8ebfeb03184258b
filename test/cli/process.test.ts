import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { loadCheckpoint, RunFolder } from '../../lib/train';
import { prose } from '../support/prose';
import { temporaryFolder } from '../support/temporaryFolder';

const path = temporaryFolder();
const MAIN = resolve(__dirname, '..', '..', 'dist', 'cli', 'main.js');
const SIZES =
  '--layers 2 --d-model 32 --head-dim 16 --context 32 --batch 8 --eval-every 0 --eval-batches 2'.split(
    ' ',
  );

beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: run npm run setup`);
  writeFileSync(path('text.txt'), prose(400));
});

const train = (folder: string, steps: number) => [
  MAIN,
  'train',
  path('text.txt'),
  ...SIZES,
  ...['--steps', String(steps), '--out', folder],
];

/** Starts a training and sends a signal once it has done some steps. */
async function interrupted(args: string[], signal: NodeJS.Signals, metrics: string) {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const timer = setInterval(() => {
    const lines = existsSync(metrics) ? readFileSync(metrics, 'utf8').split('\n').length : 0;
    if (lines > 5) {
      clearInterval(timer);
      child.kill(signal);
    }
  }, 20);
  const status = await new Promise<number | null>((done) => child.on('close', done));
  clearInterval(timer);
  return { status, stderr };
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)(
  '%s saves, and the resumed run ends where an uninterrupted one does',
  async (signal, code) => {
    const [cut, whole] = [path(signal), path(`${signal}-whole`)];
    const run = new RunFolder(cut);
    // Far more steps than are done when the signal arrives, at a learning rate that does not depend on them.
    const schedule = ['--schedule', 'constant', '--warmup', '10'];
    const started = [...train(cut, 4000), ...schedule];
    const { status, stderr } = await interrupted(started, signal, run.metrics);
    expect({ status, stderr }).toMatchObject({ status: code });
    expect(stderr).toMatch(/interrupted at step \d+ of 4000.*\[ABORTED\]/);
    const { step } = await loadCheckpoint(run.checkpoint);
    expect(step).toBeGreaterThan(0);
    expect(step).toBeLessThan(4000);
    expect(readdirSync(cut).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    const steps = step + 50;
    for (const args of [
      [MAIN, 'train', '--resume', '--out', cut, '--steps', String(steps)],
      [...train(whole, steps), ...schedule],
    ]) {
      expect(spawnSync(process.execPath, args, { encoding: 'utf8' })).toMatchObject({ status: 0 });
    }
    const [a, b] = await Promise.all(
      [run, new RunFolder(whole)].map((each) => loadCheckpoint(each.checkpoint)),
    );
    expect(a.model).toEqual(b.model);
    expect(a.optimizer).toEqual(b.optimizer);
  },
);

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends a benchmark with its own status', async (signal, code) => {
  const widths = Array<number>(10_000).fill(16).join(',');
  const sizes = ['--layers', 'dense', '--d', widths, '--tokens', '8', '--repeats', '1'];
  const child = spawn(process.execPath, [MAIN, 'bench', 'layers', ...sizes, '--threads', '1']);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout.once('data', () => child.kill(signal)).resume();
  const status = await new Promise((done) => child.on('close', done));
  expect({ status, stderr }).toMatchObject({ status: code });
  expect(stderr).toMatch(/interrupted at dense, d = 16.*\[ABORTED\]/);
});

test('a disk that takes no more is an error that leaves the old checkpoint whole', async () => {
  const folder = path('full');
  const run = new RunFolder(folder);
  const first = spawnSync(process.execPath, train(folder, 3), { encoding: 'utf8' });
  expect(first.status).toBe(0);
  const before = readFileSync(run.checkpoint);
  // A limit on the size of files fails in the middle of a write, as a full disk does.
  const kilobytes = Math.floor(before.length / 1024 / 2);
  const args = [MAIN, 'train', '--resume', '--out', folder, '--steps', '6'];
  const script = `ulimit -f ${kilobytes}; exec "$0" "$@"`;
  const limited = spawnSync('bash', ['-c', script, process.execPath, ...args], {
    encoding: 'utf8',
  });
  expect(limited.stderr).toMatch(/checkpoint\.safetensors.*\[IO\]/);
  expect(limited.status).toBe(1);
  expect(readFileSync(run.checkpoint).equals(before)).toBe(true);
  expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  expect(spawnSync(process.execPath, args, { encoding: 'utf8' }).status).toBe(0);
  expect((await loadCheckpoint(run.checkpoint)).step).toBe(6);
});

test('a reader that has had enough is no error', () => {
  const { status, stderr } = spawnSync(
    'bash',
    ['-c', `"${process.execPath}" "${MAIN}" --help | head -n 1; exit \${PIPESTATUS[0]}`],
    { encoding: 'utf8' },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

test('the demo keeps to its time on a machine that gets slower, and compares what can be compared', async () => {
  const args = [MAIN, 'demo', '--minutes', '0.4', '--json', '--out', path('slow-demo')];
  const started = performance.now();
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => {
    const before = stderr;
    stderr += chunk.toString();
    if (before.includes('BTT-MoE ·') || !stderr.includes('BTT-MoE ·')) return;
    // The second run has begun: until its time is up the machine has better things to do.
    child.kill('SIGSTOP');
    setTimeout(() => child.kill('SIGCONT'), Math.max(0, started + 24_000 - performance.now()));
  });
  expect(await new Promise((done) => child.on('close', done))).toBe(0);
  const { models, comparison } = JSON.parse(stdout) as {
    models: { macs: number; valLoss: number; step: number; config: { steps: number } }[];
    comparison: { timeRanOut: boolean; macs: number; losses: { name: string; loss: number }[] };
  };
  const [dense, mixture] = models;
  expect(mixture.step).toBeLessThan(mixture.config.steps);
  expect(comparison).toMatchObject({ timeRanOut: true, macs: mixture.macs });
  expect(comparison.losses[0].loss).toBeGreaterThan(dense.valLoss);
  expect(comparison.losses[1].loss).toBeCloseTo(mixture.valLoss, 12);
});

test('the demo replaces nothing that it did not write', () => {
  const folder = path('mine');
  expect(spawnSync(process.execPath, train(join(folder, 'dense'), 1)).status).toBe(0);
  const { checkpoint } = new RunFolder(join(folder, 'dense'));
  const before = readFileSync(checkpoint);
  const args = [MAIN, 'demo', '--minutes', '0.2', '--out', folder];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect(status).toBe(2);
  expect(stderr).toContain(`--out ${folder} holds dense`);
  expect(readdirSync(folder)).toEqual(['dense']);
  expect(readFileSync(checkpoint).equals(before)).toBe(true);
});

test('the demo compares both models and shows the result', () => {
  const out = path('demo');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [MAIN, 'demo', '--minutes', '0.25', '--out', out],
    { encoding: 'utf8' },
  );
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(
    /model +parameters +MACs\/token +training MACs +validation loss +tokens\/s/,
  );
  expect(stdout).toMatch(/dense +\d.*\nBTT-MoE +\d/);
  expect(stdout).toMatch(/For the same compute (dense|BTT-MoE) ends/);
  expect(stdout).toMatch(/dense writes:\nThe people[^]*BTT-MoE writes:\nThe people/);
  for (const extension of ['svg', 'png']) {
    const file = join(out, `loss-compute.${extension}`);
    expect(stdout).toContain(file);
    expect(readFileSync(file).length).toBeGreaterThan(5000);
  }
});
