// npm run test:extended: what takes too long for npm test. Every run is tried, and docs/extended-tests.md
// says when that last was, with which commands, and what came out.
import fs from 'node:fs';
import os from 'node:os';
import { supportedIsas } from './lib/isas.mjs';
import { runJest } from './lib/jest.mjs';
import { at, main, outputOf, runNode } from './lib/project.mjs';
import { runSanitized } from './sanitize.mjs';
import { setup } from './setup.mjs';

const numerical = ['test/structure', 'test/tensor', 'test/nn', 'test/optim', 'test/models'];
const properties = [...numerical, 'test/search', 'test/data', 'test/train/safetensors.test.ts'];

const onIsa = (isa) => ({
  what: `numerical suites on the ${isa} kernels`,
  command: `EINLINEAR_ISA=${isa} npx jest ${numerical.join(' ')}`,
  body: () => runJest(numerical, { env: { EINLINEAR_ISA: isa }, report: `jest-${isa}` }),
});

function runs(isas) {
  return [
    ...isas.map(onIsa),
    {
      what: 'property tests with 2,000 new random cases each',
      command: `FAST_CHECK_SEED=random FAST_CHECK_RUNS=2000 npx jest --testTimeout=3600000 ${properties.join(' ')}`,
      body: () =>
        runJest(['--testTimeout=3600000', ...properties], {
          env: { FAST_CHECK_SEED: 'random', FAST_CHECK_RUNS: '2000' },
          report: 'jest-properties',
        }),
    },
    {
      what: 'whole suite under AddressSanitizer and UBSan',
      command: 'npm run test:sanitize -- test',
      body: () => runSanitized({ sanitize: 'address,undefined', suites: ['test'] }),
    },
    ...isas.slice(0, -1).map((isa) => ({
      what: `numerical suites on the ${isa} kernels under AddressSanitizer and UBSan`,
      command: `EINLINEAR_ISA=${isa} npm run test:sanitize`,
      body: () => runSanitized({ sanitize: 'address,undefined', env: { EINLINEAR_ISA: isa } }),
    })),
    {
      what: 'native suites under ThreadSanitizer',
      command: 'npm run test:sanitize -- --sanitize=thread',
      body: () => runSanitized({ sanitize: 'thread' }),
    },
  ];
}

function attempt({ what, command, body }) {
  process.stdout.write(`\n=== ${what}\n`);
  const start = performance.now();
  let counts;
  try {
    counts = body();
  } catch (error) {
    process.stdout.write(`${error.message}\n`);
    counts = { passed: error.passed ?? 0, failed: Math.max(1, error.failed ?? 0) };
  }
  return { what, command, ...counts, minutes: (performance.now() - start) / 60_000 };
}

function report(results) {
  const compiler = outputOf(process.env.CXX ?? 'c++', ['--version'])?.split('\n')[0];
  const rows = results.map(
    ({ what, command, passed, failed, minutes }) =>
      `| ${what} | \`${command}\` | ${passed} passed, ${failed} failed | ${minutes.toFixed(1)} min |`,
  );
  return `# Extended tests

What \`npm run test:extended\` runs beyond \`npm test\`, and what its last run gave. The command writes this file.

- Date: ${new Date().toISOString().slice(0, 10)}
- Machine: ${os.cpus()[0].model}, ${os.availableParallelism()} processors, ${os.platform()} ${os.arch()}
- Tools: Node ${process.version}, ${compiler}

| run | command | result | time |
| --- | --- | --- | --- |
${rows.join('\n')}
`;
}

main(import.meta.url, () => {
  setup();
  const results = runs(supportedIsas()).map(attempt);
  fs.mkdirSync(at('docs'), { recursive: true });
  fs.writeFileSync(at('docs', 'extended-tests.md'), report(results));
  runNode('node_modules/prettier/bin/prettier.cjs', ['--write', 'docs/extended-tests.md']);
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed\n`);
  if (sum('failed') > 0) process.exitCode = 1;
});
