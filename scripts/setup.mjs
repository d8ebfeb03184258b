// Makes a clone ready to use: packages, addon, dist/. Needs only Node, CMake, a C++17 compiler and make
// or ninja, and does only what is out of date. `--force` builds both parts again.
import fs from 'node:fs';
import path from 'node:path';
import { buildNative } from './build-native.mjs';
import { buildTypeScript } from './build-ts.mjs';
import { at, changed, main, newestChange, run } from './lib/project.mjs';
import { checkNode, checkTools } from './lib/tools.mjs';

function step(name, body) {
  process.stdout.write(`setup: ${name} ...\n`);
  const start = performance.now();
  body();
  process.stdout.write(
    `setup: ${name} done in ${((performance.now() - start) / 1000).toFixed(1)} s\n`,
  );
}

/** Whether node_modules holds what package-lock.json asks for (npm keeps its own copy of the list there). */
function packagesAreInstalled() {
  const installedList = at('node_modules', '.package-lock.json');
  if (!fs.existsSync(installedList)) return false;
  const { packages: wanted } = JSON.parse(fs.readFileSync(at('package-lock.json'), 'utf8'));
  const { packages: installed } = JSON.parse(fs.readFileSync(installedList, 'utf8'));
  return Object.entries(wanted).every(
    ([folder, { version, optional }]) =>
      folder === '' || optional || installed[folder]?.version === version,
  );
}

function installPackages() {
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  const npm = process.env.npm_execpath; // npm's own script, when npm started us
  if (npm && /\.c?js$/.test(npm)) run(process.execPath, [npm, ...args]);
  else run(process.platform === 'win32' ? 'npm.cmd' : 'npm', args);
}

const addonIsCurrent = () =>
  changed(at('build', 'Release', 'einlinear.node')) >
  newestChange(
    at('native', 'core'),
    at('native', 'cpu'),
    at('native', 'addon'),
    at('native', 'cuda'),
    at('CMakeLists.txt'),
  );

const distIsCurrent = () =>
  changed(at('dist', 'index.js')) >
  newestChange(at('lib'), at('tsconfig.json'), at('tsconfig.build.json'));

// Where npx looks first; without it, npx would install a copy of the checkout into its cache.
function linkCommand() {
  const link = at('node_modules', '.bin', 'einlinear');
  if (process.platform === 'win32' || fs.lstatSync(link, { throwIfNoEntry: false })) return;
  fs.mkdirSync(path.dirname(link), { recursive: true });
  fs.symlinkSync(path.join('..', '..', 'dist', 'cli', 'main.js'), link);
}

export function setup({ force = false } = {}) {
  checkNode();
  const buildsAddon = force || !addonIsCurrent();
  // Before the packages: nobody waits for them only to hear that the compiler is missing.
  if (buildsAddon) checkTools();
  if (!packagesAreInstalled()) step('installing packages', installPackages);
  if (buildsAddon) {
    // On a terminal the build tool shows its progress in one line; elsewhere only a failure matters.
    step('building the addon', () => buildNative({ quiet: !process.stdout.isTTY }));
  }
  if (force || !distIsCurrent()) step('compiling TypeScript', buildTypeScript);
  linkCommand();
}

main(import.meta.url, () => setup({ force: process.argv.includes('--force') }));
