// Removes everything a build made (not node_modules).
import fs from 'node:fs';
import { at, main } from './lib/project.mjs';

main(import.meta.url, () => {
  for (const folder of ['build', '.build', '.build-sanitize', 'dist', 'prebuilds', 'coverage']) {
    fs.rmSync(at(folder), { recursive: true, force: true });
  }
});
