// npm test: every stage from a fresh clone to the sanitizer run, stopping at the first that fails.
// npm run test:quick: set-up and the fast test suites only.
// The last line is always `N passed, N failed`, counting tests.
import { checkRoutes } from './build-routes.mjs';
import { buildNative, emulationOf } from './build-native.mjs';
import { lint } from './lint.mjs';
import { supportedIsas } from './lib/isas.mjs';
import { runJest } from './lib/jest.mjs';
import { main, runNode } from './lib/project.mjs';
import { runReference } from './reference.mjs';
import { runSanitized } from './sanitize.mjs';
import { setup } from './setup.mjs';

// Suites that train, or go through many sizes: npm test runs them, test:quick does not.
const slowSuites = ['test/train', 'test/cli', 'test/models', 'test/package', 'test/reference'];

const emulatedSuites = ['test/tensor', 'test/nn', 'test/optim'];

const quick = [
  { name: 'setup', body: () => setup() },
  {
    name: 'tests',
    body: () => runJest(['--testPathIgnorePatterns', ...slowSuites], { report: 'jest-quick' }),
  },
];

const all = [
  { name: 'setup', body: () => setup() },
  { name: 'lint', body: () => lint() },
  {
    name: 'types',
    body: () => runNode('node_modules/typescript/bin/tsc', ['-p', 'tsconfig.json']),
  },
  { name: 'tests', body: () => runJest() },
  { name: 'other kernels', body: testOtherKernels },
  { name: 'reference', body: () => runReference() },
  { name: 'emulated CUDA', body: testEmulation },
  { name: 'build routes', body: () => checkRoutes() },
  { name: 'sanitize', body: () => runSanitized({ sanitize: 'address,undefined' }) },
  {
    name: 'sanitize emulated CUDA',
    body: () =>
      runSanitized({ sanitize: 'address,undefined', suites: ['test/tensor'], emulation: true }),
  },
];

// The suites above ran on the best kernels of this processor; the others must compute the same.
function testOtherKernels() {
  let passed = 0;
  for (const isa of supportedIsas().slice(0, -1)) {
    process.stdout.write(`--- ${isa}\n`);
    const counts = runJest(['test/tensor'], { env: { EINLINEAR_ISA: isa }, report: `jest-${isa}` });
    passed += counts.passed;
  }
  return { passed };
}

// The CUDA kernels on the CPU; with a seed, the threads of a block and the blocks run in another order.
function testEmulation() {
  const library = emulationOf(buildNative({ emulation: true, quiet: true }));
  let passed = 0;
  for (const seed of ['1', '7']) {
    process.stdout.write(`--- scheduling order ${seed}\n`);
    const counts = runJest(emulatedSuites, {
      env: {
        EINLINEAR_DEVICE: 'cuda-emulated',
        EINLINEAR_CUDA_EMULATION: library,
        EINLINEAR_EMULATION_SEED: seed,
      },
      report: `jest-emulated-${seed}`,
    });
    passed += counts.passed;
  }
  return { passed };
}

function runStages(stages) {
  let passed = 0;
  const times = [];
  for (const { name, body } of stages) {
    process.stdout.write(`\n=== ${name}\n`);
    const start = performance.now();
    const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    try {
      passed += body()?.passed ?? 0;
    } catch (error) {
      passed += error.passed ?? 0;
      process.stdout.write(`\n${error.message}\n=== ${name} FAILED after ${seconds()}\n`);
      process.stdout.write(`${passed} passed, ${Math.max(1, error.failed ?? 0)} failed\n`);
      process.exitCode = 1;
      return;
    }
    times.push(`${name} ${seconds()}`);
  }
  process.stdout.write(
    `\n=== all stages passed: ${times.join(', ')}\n${passed} passed, 0 failed\n`,
  );
}

main(import.meta.url, () => runStages(process.argv[2] === 'quick' ? quick : all));
