// npm run test:sanitize: the suites that drive native code, on an addon built with AddressSanitizer and
// UBSan. `-- --sanitize=thread` uses ThreadSanitizer; further arguments are Jest's.
import fs from 'node:fs';
import { buildNative, emulationOf } from './build-native.mjs';
import { runJest } from './lib/jest.mjs';
import { at, main, outputOf } from './lib/project.mjs';
import { setup } from './setup.mjs';

const nativeSuites = ['test/native', 'test/tensor', 'test/nn', 'test/optim'];

/** The sanitizer's run-time library must come first in the process, and node is not linked with it. */
function preload(sanitize) {
  const compiler = process.env.CXX ?? 'c++';
  const names = sanitize === 'thread' ? ['libtsan.so'] : ['libasan.so', 'libubsan.so'];
  // libstdc++ too: the sanitizer looks for __cxa_throw before the addon brings it in.
  return [...names, 'libstdc++.so.6']
    .map((name) => outputOf(compiler, [`-print-file-name=${name}`]))
    .filter((name) => name !== null && fs.existsSync(name))
    .map((name) => fs.realpathSync(name))
    .join(':');
}

export function runSanitized({
  sanitize,
  suites = nativeSuites,
  emulation = false,
  env: extra = {},
}) {
  if (process.platform !== 'linux') {
    process.stdout.write('sanitize: only on Linux, where a library can be preloaded into node\n');
    return { passed: 0, failed: 0 };
  }
  const binary = buildNative({ sanitize, emulation });
  const env = {
    ...extra,
    EINLINEAR_BINARY: binary,
    ...(emulation && {
      EINLINEAR_DEVICE: 'cuda-emulated',
      EINLINEAR_CUDA_EMULATION: emulationOf(binary),
    }),
    LD_PRELOAD: preload(sanitize),
    // Node itself keeps memory until it ends; our own leaks are tested through memory().
    ASAN_OPTIONS: 'detect_leaks=0:detect_stack_use_after_return=0',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    TSAN_OPTIONS: 'ignore_noninstrumented_modules=1',
  };
  const present = suites.filter((suite) => fs.existsSync(at(...suite.split('/'))));
  return runJest(['--runInBand', '--testTimeout=300000', ...present], {
    env,
    report: 'jest-sanitize',
  });
}

main(import.meta.url, () => {
  setup();
  const args = process.argv.slice(2);
  const sanitize = args.find((arg) => arg.startsWith('--sanitize='))?.slice('--sanitize='.length);
  const suites = args.filter((arg) => !arg.startsWith('--'));
  runSanitized({ sanitize: sanitize ?? 'address,undefined', ...(suites.length > 0 && { suites }) });
});
