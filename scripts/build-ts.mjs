// Compiles lib/ to dist/ and makes the command executable. dist/ is replaced whole, so it holds nothing
// of a deleted source and other programs never see it half written.
import fs from 'node:fs';
import { withLock } from './lib/lock.mjs';
import { at, main, runNode } from './lib/project.mjs';

export function buildTypeScript() {
  withLock(() => {
    const next = at('.build', 'dist-next');
    const last = at('.build', 'dist-last');
    fs.rmSync(next, { recursive: true, force: true });
    runNode('node_modules/typescript/bin/tsc', ['-p', 'tsconfig.build.json', '--outDir', next]);
    const command = `${next}/cli/main.js`;
    if (fs.existsSync(command)) fs.chmodSync(command, 0o755);

    fs.rmSync(last, { recursive: true, force: true });
    if (fs.existsSync(at('dist'))) fs.renameSync(at('dist'), last);
    fs.renameSync(next, at('dist'));
    fs.rmSync(last, { recursive: true, force: true });
  });
}

main(import.meta.url, buildTypeScript);
