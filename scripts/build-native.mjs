// Builds the addon with cmake-js:
//   node scripts/build-native.mjs                      -> build/Release/einlinear.node
//   node scripts/build-native.mjs --sanitize=address,undefined | --sanitize=thread
//                                                      -> build/Sanitize/einlinear.node
//   ... --tools       also the programs of native/bench: tools/ beside the addon
//   ... --emulation   the CUDA sources for the CPU too, for tests: emulation/ beside the addon
// The CMake trees live outside build/, which `node-gyp rebuild` wipes.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { withLock } from './lib/lock.mjs';
import { at, main, root, runNode } from './lib/project.mjs';

/** The library that runs the CUDA sources on the CPU, built beside an addon. */
export const emulationOf = (addon) =>
  path.join(path.dirname(addon), 'emulation', 'libeinlinear_cuda_emulated.so');

export const sanitizeTree = (sanitize) => at('.build-sanitize', sanitize.replace(/\W+/g, '-'));

export function buildNative({
  sanitize = '',
  emulation = false,
  tools = false,
  verbose = false,
  quiet = false,
} = {}) {
  const tree = sanitize ? sanitizeTree(sanitize) : at('.build', 'native');
  const output = at('build', sanitize ? 'Sanitize' : 'Release', 'einlinear.node');
  withLock(() => {
    forgetMovedTree(tree);
    if (sanitize) forgetOtherSanitizer(output, sanitize);
    const args = ['--out', tree, '--parallel', String(os.availableParallelism())];
    if (sanitize) args.push(`--CDEINLINEAR_SANITIZE=${sanitize}`);
    if (tools) args.push('--CDEINLINEAR_TOOLS=ON');
    if (emulation) args.push('--CDEINLINEAR_EMULATION=ON');
    if (!verbose) args.push('--log-level', 'error');
    const cmakeJs = 'node_modules/cmake-js/bin/cmake-js';
    // A tree that exists takes no new option by being built.
    if (emulation || tools) runNode(cmakeJs, ['configure', ...args], { quiet });
    runNode(cmakeJs, ['build', ...args], { quiet });
    if (sanitize) fs.writeFileSync(at('build', 'Sanitize', 'kind'), sanitize);
  });
  for (const file of [output, ...(emulation ? [emulationOf(output)] : [])])
    if (!fs.existsSync(file)) throw new Error(`The build ended without ${file}`);
  return output;
}

// CMake refuses a tree that was configured for another folder, as after moving a checkout.
function forgetMovedTree(tree) {
  const cache = `${tree}/CMakeCache.txt`;
  if (!fs.existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(fs.readFileSync(cache, 'utf8'))?.[1];
  if (home !== root) fs.rmSync(tree, { recursive: true, force: true });
}

// Both sanitizer builds have the same output: one must not take the other's for its own.
function forgetOtherSanitizer(output, sanitize) {
  const kind = at('build', 'Sanitize', 'kind');
  const built = fs.existsSync(kind) ? fs.readFileSync(kind, 'utf8') : '';
  if (built !== sanitize) fs.rmSync(output, { force: true });
}

main(import.meta.url, () => {
  const { values } = parseArgs({
    options: {
      sanitize: { type: 'string' },
      emulation: { type: 'boolean' },
      tools: { type: 'boolean' },
      verbose: { type: 'boolean' },
    },
  });
  buildNative(values);
});
