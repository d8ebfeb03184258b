// npm run gpu:check [-- --only PART] [--minutes N]: what only a machine with a GPU can tell, in one command.
// Writes docs/gpu-check.json and docs/gpu-check.md after every part, so that a run that is cut off leaves
// what it has. A part that finds no time left, or a tool that refuses the device, is recorded as such.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { runJest } from './lib/jest.mjs';
import { at, cleanEnvironment, main, outputOf, root, runNode } from './lib/project.mjs';
import { runReference } from './reference.mjs';

const onCuda = { EINLINEAR_DEVICE: 'cuda' };
const numerical = ['test/tensor', 'test/nn', 'test/optim', 'test/models'];
// Kernels are slow under compute-sanitizer: the suites that reach every one of them with small tensors.
const small = [
  'test/tensor/einsum',
  'test/tensor/bttMoe',
  'test/tensor/moe',
  'test/tensor/attention',
  'test/tensor/matmul',
  'test/tensor/softmax',
  'test/tensor/layerNorm',
  'test/tensor/loss',
  'test/optim',
];

/** Every wrapper of a hardware feature gives what the emulation gives, bit for bit. */
function conformance() {
  const [device, emulated] = ['tools', 'emulation'].map((folder) => {
    const program = at('build', 'Release', folder, 'conformance');
    if (!fs.existsSync(program))
      throw new Error(
        `There is no ${program}: build with scripts/build-native.mjs --emulation --tools`,
      );
    const output = outputOf(program);
    if (output === null) throw new Error(`${program} failed`);
    return output.split('\n');
  });
  const wrong = emulated.filter((line, i) => line !== device[i]).map((line) => line.split(' ')[0]);
  if (wrong.length > 0) throw new Error(`Device and emulation differ in ${wrong.join(', ')}`);
  return { passed: emulated.length, failed: 0 };
}

const ops = () => runJest(numerical, { env: onCuda, report: 'jest-cuda' });

const reference = () => runReference({ env: onCuda });

function sanitizer(tool, seconds) {
  const jest = ['node_modules/jest/bin/jest.js', '--runInBand', '--testTimeout=600000', ...small];
  const args = [
    '--tool',
    tool,
    '--error-exitcode',
    '77',
    '--target-processes',
    'all',
    process.execPath,
    ...jest,
  ];
  const { status, error, stdout, stderr } = spawnSync('compute-sanitizer', args, {
    cwd: root,
    env: cleanEnvironment(onCuda),
    encoding: 'utf8',
    timeout: seconds * 1000,
    maxBuffer: 256 << 20,
  });
  const text = `${stdout ?? ''}${stderr ?? ''}`;
  if (error?.code === 'ENOENT') return { unavailable: 'compute-sanitizer is not installed' };
  if (error?.code === 'ETIMEDOUT') return { unavailable: `not done in ${seconds.toFixed(0)} s` };
  if (/not supported|Unable to find|Device not supported/i.test(text) && status !== 77)
    return { unavailable: text.split('\n').find((line) => /not supported|Unable/i.test(line)) };
  if (status !== 0)
    throw new Error(
      text
        .split('\n')
        .filter((line) => /=====|●|✕/.test(line))
        .slice(0, 40)
        .join('\n'),
    );
  return { passed: 1, failed: 0 };
}

const STEPS = 200;

/** A BTT-MoE GPT learns on the device what it learns on the CPU. */
async function training() {
  const einlinear = createRequire(import.meta.url)(at('dist', 'index.js'));
  const data = at('.build', 'gpu-check-data');
  await einlinear.prepareText(einlinear.datasetFolder('sotu'), data);
  const run = async (device, dtype, seed) => {
    const losses = [];
    const start = performance.now();
    await einlinear.train(
      {
        model: {
          vocabSize: 96,
          contextLength: 64,
          layers: 3,
          dModel: 96,
          headDim: 32,
          structure: 'btt-moe:experts=8,k=2',
        },
        data,
        device,
        dtype,
        seed,
        steps: STEPS,
        batch: 16,
        lr: 6e-3,
        warmup: 20,
        evalEvery: 0,
        evalBatches: 1,
        logEvery: 1,
      },
      { onStep: ({ loss }) => losses.push(loss) },
    );
    return { losses, seconds: (performance.now() - start) / 1000 };
  };
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const late = ({ losses }) => mean(losses.slice(-50));
  const onCpu = [];
  for (const seed of [0, 1, 2]) onCpu.push(await run('cpu', 'float32', seed));
  const results = {};
  for (const [dtype, tolerance] of [
    ['float32', 1e-3],
    ['bfloat16', 2e-2],
  ]) {
    const gpu = await run('cuda', dtype, 0);
    gpu.losses.slice(0, 5).forEach((loss, i) => {
      const expected = onCpu[0].losses[i];
      if (!(Math.abs(loss - expected) <= tolerance * expected))
        throw new Error(`${dtype}: loss ${loss} at step ${i + 1}, the CPU has ${expected}`);
    });
    const lates = onCpu.map(late);
    const spread = Math.max(...lates) - Math.min(...lates);
    if (!(Math.abs(late(gpu) - mean(lates)) <= spread))
      throw new Error(
        `${dtype}: mean of the last 50 losses ${late(gpu)}, the CPU's three seeds have ${lates.join(', ')}`,
      );
    results[dtype] = { lastFifty: late(gpu), seconds: gpu.seconds };
  }
  return { passed: 2, failed: 0, cpuLastFifty: onCpu.map(late), ...results };
}

const parts = {
  conformance,
  ops,
  reference,
  memcheck: (seconds) => sanitizer('memcheck', seconds),
  racecheck: (seconds) => sanitizer('racecheck', seconds),
  training,
};

function environment() {
  const query = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
  return {
    date: new Date().toISOString().slice(0, 10),
    device: outputOf('nvidia-smi', query),
    backend: createRequire(import.meta.url)(at('build', 'Release', 'einlinear.node'))
      .backends()
      .find(({ name }) => name === 'cuda'),
    node: process.version,
    processor: `${os.cpus()[0].model}, ${os.availableParallelism()} processors`,
    commit: outputOf('git', ['rev-parse', 'HEAD']),
  };
}

function write(report) {
  fs.mkdirSync(at('docs'), { recursive: true });
  fs.writeFileSync(at('docs', 'gpu-check.json'), `${JSON.stringify(report, null, 2)}\n`);
  const { date, device, backend, node, processor, commit } = report.environment;
  const rows = report.parts.map(
    ({ part, result, seconds, detail }) =>
      `| ${part} | ${result} | ${seconds.toFixed(1)} s | ${detail.split('\n')[0].replaceAll('|', '\\|').slice(0, 300)} |`,
  );
  fs.writeFileSync(
    at('docs', 'gpu-check.md'),
    `# GPU check

What \`npm run gpu:check\` gave when it was last run. The command writes this file.

- Date: ${date}, commit ${commit ?? 'unknown'}
- Device: ${device ?? 'unknown'}; ${Object.entries(backend?.details ?? {})
      .map(([key, value]) => `${key} ${value}`)
      .join('; ')}
- Host: ${processor}, Node ${node}

| part | result | time | detail |
| --- | --- | --- | --- |
${rows.join('\n')}
`,
  );
}

main(import.meta.url, async () => {
  const { values } = parseArgs({
    options: { only: { type: 'string' }, minutes: { type: 'string', default: '9' } },
  });
  const { only, minutes } = values;
  if (only !== undefined && !Object.hasOwn(parts, only))
    throw new Error(`Expected --only to be one of ${Object.keys(parts).join(', ')}, got ${only}`);
  const deadline = performance.now() + Number(minutes) * 60_000;
  const report = { environment: environment(), parts: [] };
  if (!report.environment.backend?.available)
    throw new Error(`There is no GPU to check: ${report.environment.backend?.reason}`);
  for (const [part, body] of Object.entries(parts)) {
    if (only !== undefined && part !== only) continue;
    process.stdout.write(`\n=== ${part}\n`);
    const start = performance.now();
    const left = (deadline - start) / 1000;
    let entry = { result: 'not measured', detail: 'no time was left' };
    if (left > 5) {
      try {
        const { unavailable, ...numbers } = await body(left);
        entry =
          unavailable === undefined
            ? { result: 'passed', detail: JSON.stringify(numbers) }
            : { result: 'unavailable', detail: unavailable };
      } catch (error) {
        entry = { result: 'failed', detail: error.message };
        process.exitCode = 1;
      }
    }
    process.stdout.write(`${part}: ${entry.result} ${entry.detail}\n`);
    report.parts.push({ part, ...entry, seconds: (performance.now() - start) / 1000 });
    write(report);
  }
  runNode('node_modules/prettier/bin/prettier.cjs', [
    '--write',
    'docs/gpu-check.md',
    'docs/gpu-check.json',
  ]);
  const failed = report.parts.filter(({ result }) => result === 'failed').length;
  process.stdout.write(`\n${report.parts.length - failed} passed, ${failed} failed\n`);
});
