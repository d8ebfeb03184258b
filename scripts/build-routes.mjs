// Every way to build the addon ends in one that loads: node-gyp, prebuildify, cmake-js; and the packed
// package works with its prebuild, and where there is none, built from its own sources by plain CMake.
import fs from 'node:fs';
import os from 'node:os';
import { buildNative } from './build-native.mjs';
import { at, main, run } from './lib/project.mjs';
import { setup } from './setup.mjs';

const release = at('build', 'Release', 'einlinear.node');
const prebuilt = at('prebuilds', `${process.platform}-${process.arch}`, 'einlinear.node');
const packed = at('.build', 'packed');
// Below .build the package finds its dependencies in the checkout's node_modules.
const unpacked = `${packed}/node_modules/einlinear`;

const npm = (...args) => run('npm', args, { quiet: true });

function addonLoads(binary) {
  const program = 'process.exit(require(process.argv[1]).backends()[0].available ? 0 : 1)';
  run(process.execPath, ['-e', program, binary]);
}

function packageWorks() {
  const program = `
    const { createRequire } = require('node:module');
    const { tensor } = createRequire(process.argv[1] + '/')('einlinear');
    if (tensor([1, 2, 3]).sum().item() !== 6) process.exit(1)`;
  run(process.execPath, ['-e', program, packed]);
  run(process.execPath, [`${unpacked}/dist/cli/main.js`, '--version'], { quiet: true });
}

function nodeGyp() {
  npm('run', 'gyp');
  addonLoads(release);
}

function prebuildify() {
  fs.rmSync(at('prebuilds'), { recursive: true, force: true });
  npm('run', 'prebuild');
  addonLoads(prebuilt);
}

function packedPackage() {
  fs.rmSync(packed, { recursive: true, force: true });
  fs.mkdirSync(unpacked, { recursive: true });
  npm('pack', '--pack-destination', packed);
  const tarball = fs.readdirSync(packed).find((name) => name.endsWith('.tgz'));
  run('tar', ['-xzf', `${packed}/${tarball}`, '-C', unpacked, '--strip-components=1']);
  packageWorks();
}

function packedSources() {
  fs.rmSync(`${unpacked}/prebuilds`, { recursive: true });
  const tree = `${unpacked}/.build/native`;
  // The routes before have built the CUDA library from the same sources.
  run('cmake', ['-S', unpacked, '-B', tree, '-DEINLINEAR_CUDA=OFF'], { quiet: true });
  const jobs = String(os.availableParallelism());
  run('cmake', ['--build', tree, '--parallel', jobs], { quiet: true });
  packageWorks();
}

const cmakeJs = () => addonLoads(buildNative({ quiet: true }));

export function checkRoutes() {
  // cmake-js comes last: prebuildify moves the addon away from where the checkout looks for it.
  const routes = { nodeGyp, prebuildify, packedPackage, packedSources, cmakeJs };
  let passed = 0;
  for (const [name, route] of Object.entries(routes)) {
    const start = performance.now();
    route();
    passed += 1;
    process.stdout.write(`${name}: ok (${((performance.now() - start) / 1000).toFixed(1)} s)\n`);
  }
  return { passed, failed: 0 };
}

main(import.meta.url, () => {
  setup();
  checkRoutes();
});
