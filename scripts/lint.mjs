// eslint, prettier and clang-format over everything; `--fix` writes what they would change.
import fs from 'node:fs';
import path from 'node:path';
import { at, main, root, run, runNode } from './lib/project.mjs';

function nativeSources(folder = at('native')) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) return nativeSources(name);
    return /\.(h|cpp|cu)$/.test(entry.name) ? [path.relative(root, name)] : [];
  });
}

export function lint({ fix = false } = {}) {
  const failures = [];
  const attempt = (name, body) => {
    try {
      body();
      process.stdout.write(`lint: ${name} ok\n`);
    } catch (error) {
      failures.push(name);
      process.stderr.write(`${error.message}\n`);
    }
  };
  attempt('eslint', () =>
    runNode('node_modules/eslint/bin/eslint.js', [
      '--max-warnings',
      '0',
      ...(fix ? ['--fix'] : []),
      '.',
    ]),
  );
  attempt('prettier', () =>
    runNode('node_modules/prettier/bin/prettier.cjs', [
      fix ? '--write' : '--check',
      '--log-level',
      'warn',
      '**/*.{ts,mts,js,mjs,json,md,yml,yaml}',
    ]),
  );
  attempt('clang-format', () =>
    runNode('node_modules/clang-format/index.js', [
      ...(fix ? ['-i'] : ['--dry-run', '-Werror']),
      ...nativeSources(),
    ]),
  );
  if (failures.length > 0)
    throw new Error(`lint failed: ${failures.join(', ')} (npm run format mends what it can)`);
}

main(import.meta.url, () => lint({ fix: process.argv.includes('--fix') }));
