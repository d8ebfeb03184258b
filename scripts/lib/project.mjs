// Where things are in this project, and how scripts run programs. Plain Node: these scripts run
// before anything is installed.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
export const at = (...parts) => path.join(root, ...parts);

/** The environment for programs we start: gyp's make leaves values that confuse the next build tool. */
export function cleanEnvironment(extra = {}) {
  const env = { ...process.env, ...extra };
  for (const name of ['PWD', 'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES']) delete env[name];
  return env;
}

/** Runs a program in the project's root with its output shown; throws when it fails. */
export function run(program, args, { env = {}, quiet = false } = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    env: cleanEnvironment(env),
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (result.status !== 0) {
    if (quiet) process.stderr.write((result.stdout ?? '') + (result.stderr ?? ''));
    const reason = result.error?.message ?? `exit status ${result.status ?? result.signal}`;
    throw new Error(`${path.basename(program)} ${args.join(' ')} failed (${reason})`);
  }
  return result.stdout ?? '';
}

/** Runs a Node script (a tool of node_modules, or ours). */
export const runNode = (script, args = [], options = {}) =>
  run(process.execPath, [at(script), ...args], options);

/** The trimmed output of a program, or null when it is missing or fails. */
export function outputOf(program, args = [], { input = '', env = {} } = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    encoding: 'utf8',
    input,
    env: cleanEnvironment(env),
  });
  return result.status === 0 ? result.stdout.trim() : null;
}

/** Time of the last change of a file or of anything in a folder (the folders too: they note deletions), 0 if missing. */
export function newestChange(...paths) {
  let newest = 0;
  for (const name of paths) {
    const stat = fs.statSync(name, { throwIfNoEntry: false });
    if (!stat) continue;
    newest = Math.max(newest, stat.mtimeMs);
    if (stat.isDirectory()) {
      newest = Math.max(
        newest,
        ...fs.readdirSync(name).map((entry) => newestChange(path.join(name, entry))),
      );
    }
  }
  return newest;
}

export const changed = (name) => fs.statSync(name, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/**
 * Runs `body` when the module at `url` is the script that was started (and not imported by another);
 * a failure ends it with one clear message instead of a stack.
 */
export function main(url, body) {
  if (path.resolve(process.argv[1] ?? '') !== fileURLToPath(url)) return;
  Promise.resolve()
    .then(body)
    .catch((error) => {
      process.stderr.write(`\n${error.message}\n`);
      process.exitCode = 1;
    });
}
