import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const root = path.resolve(__dirname, '..', '..');
const example = path.join(root, 'examples', 'readme.mjs');
const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');

describe('the example of the README', () => {
  test('is the file that is run here', () => {
    const block = /^```js\n(.*?)^```/ms.exec(readme)?.[1];
    expect(block).toBe(fs.readFileSync(example, 'utf8'));
  });

  test('runs and learns', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [example], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const losses = [...stdout.matchAll(/loss (\S+)/g)].map(([, loss]) => Number(loss));
    expect(losses.length).toBeGreaterThan(2);
    expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]);
  });
});

test('the README names only npm scripts that exist', () => {
  const { scripts } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  for (const document of ['README.md', 'CONTRIBUTING.md']) {
    const text = fs.readFileSync(path.join(root, document), 'utf8');
    const named = [...text.matchAll(/npm run ([\w:]+)/g)].map(([, name]) => name);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
  }
});
