import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

import { temporaryFolder } from '../support/temporaryFolder';

const path = temporaryFolder();
const LOCK = resolve(__dirname, '..', '..', 'scripts', 'lib', 'lock.mjs');

/** A program that runs `body` under a lock and shows what goes wrong. */
function program(file: string, body: string, minutes = 1): string[] {
  const code = `import fs from 'node:fs';
    import { withLock } from ${JSON.stringify(LOCK)};
    const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    try { withLock(() => { ${body} }, ${JSON.stringify({ file, minutes })}) }
    catch (error) { console.log(error.message); process.exitCode = 1 }`;
  return ['--input-type=module', '-e', code];
}

function runLocked(file: string, body: string, minutes?: number) {
  const { status, stdout, stderr } = spawnSync(process.execPath, program(file, body, minutes), {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const SAY = `process.stdout.write('mine')`;
const done = { status: 0, stdout: 'mine', stderr: '' };

test('is free again after what it guards has ended or failed', () => {
  const file = path('free');
  expect(runLocked(file, SAY)).toEqual(done);
  expect(runLocked(file, `throw new Error('no luck')`)).toMatchObject({ stdout: 'no luck\n' });
  expect(existsSync(file)).toBe(false);
});

test.each([
  ['of a process that is gone', () => `${spawnSync('true').pid} 1`],
  ['without the number of a process', () => ''],
])('a lock %s is nobody’s', (name, content) => {
  const file = path(name);
  writeFileSync(file, content());
  expect(runLocked(file, SAY)).toEqual(done);
});

(process.platform === 'linux' ? test : test.skip)(
  'a lock of an ended process whose number another one has now is nobody’s',
  () => {
    const file = path('reused');
    writeFileSync(file, `${process.pid} 1`);
    expect(runLocked(file, SAY)).toEqual(done);
  },
);

test('a waiter says so once, and gives up in time', () => {
  const file = path('held');
  writeFileSync(file, String(process.pid));
  const { status, stdout, stderr } = runLocked(file, SAY, 0.02);
  expect(stderr).toBe(`waiting for another build (pid ${process.pid})\n`);
  expect(stdout).toContain(`Another build (pid ${process.pid}) has held ${file} for 0.02 minutes`);
  expect(status).toBe(1);
  expect(readFileSync(file, 'utf8')).toBe(String(process.pid));
});

test('of many who find a stale lock each has its turn alone', async () => {
  const file = path('contended');
  const log = path('contended.log');
  writeFileSync(file, `${spawnSync('true').pid} 1`);
  const append = (mark: string) => `fs.appendFileSync(${JSON.stringify(log)}, '${mark}');`;
  const args = program(file, `${append('(')} pause(20); ${append(')')}`);
  const statuses = Array.from(
    { length: 8 },
    () =>
      new Promise((ended) => {
        spawn(process.execPath, args, { stdio: 'ignore' }).on('close', ended);
      }),
  );
  expect(await Promise.all(statuses)).toEqual(Array(8).fill(0));
  expect(readFileSync(log, 'utf8')).toBe('()'.repeat(8));
  expect(readdirSync(path()).filter((name) => name.startsWith('contended'))).toEqual([
    'contended.log',
  ]);
});
