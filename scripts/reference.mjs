// npm run test:reference [-- DIR]: the parity cases of test/reference/cases or of another folder.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { withLock } from './lib/lock.mjs';
import {
  at,
  changed,
  cleanEnvironment,
  main,
  newestChange,
  root,
  runNode,
} from './lib/project.mjs';
import { setup } from './setup.mjs';

const runner = at('.build', 'tools', 'test', 'reference', 'run.js');

function buildRunner() {
  const sources = newestChange(at('lib'), at('test', 'reference'), at('tsconfig.tools.json'));
  if (changed(runner) > sources) return;
  withLock(() => {
    fs.rmSync(at('.build', 'tools'), { recursive: true, force: true });
    runNode('node_modules/typescript/bin/tsc', ['-p', 'tsconfig.tools.json']);
    // The runner shall drive the library as built, not a second copy of it away from its addon.
    fs.rmSync(at('.build', 'tools', 'lib'), { recursive: true, force: true });
    fs.symlinkSync(at('dist'), at('.build', 'tools', 'lib'), 'junction');
  });
}

// npm starts scripts in the project's root; a folder is meant from where the user is.
const fromCaller = (arg) =>
  arg.startsWith('-') ? arg : path.resolve(process.env.INIT_CWD ?? process.cwd(), arg);

/** Runs cases, on the device that `env` names; its output is returned with stdout 'pipe'. */
export function startReference(args, { stdout = 'pipe', env = {} } = {}) {
  buildRunner();
  return spawnSync(process.execPath, [runner, ...args.map(fromCaller)], {
    cwd: root,
    env: cleanEnvironment(env),
    stdio: ['ignore', stdout, 'inherit'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
}

/** Runs our own cases and returns how many passed; throws when one fails. */
export function runReference({ env = {} } = {}) {
  const { status, stdout } = startReference([], { env });
  process.stdout.write(stdout);
  const closing = /(\d+) passed, (\d+) failed\s*$/.exec(stdout);
  const counts = { passed: Number(closing?.[1] ?? 0), failed: Number(closing?.[2] ?? 1) };
  if (status !== 0 || counts.failed > 0 || counts.passed === 0) {
    throw Object.assign(new Error('The reference cases did not all pass'), counts);
  }
  return counts;
}

main(import.meta.url, () => {
  setup();
  process.exitCode = startReference(process.argv.slice(2), { stdout: 'inherit' }).status ?? 1;
});
