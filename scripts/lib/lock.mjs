// One build at a time in a checkout: a second one waits instead of mixing its files with the first's.
import fs from 'node:fs';
import path from 'node:path';
import { at } from './project.mjs';

const lockFile = at('.build', 'lock');

function holderIsAlive() {
  const pid = Number(fs.readFileSync(lockFile, 'utf8'));
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Runs `body` (synchronous) while no other script of this checkout does. */
export function withLock(body) {
  fs.mkdirSync(path.dirname(lockFile), { recursive: true });
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      fs.writeFileSync(lockFile, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      Atomics.wait(pause, 0, 0, 200);
      try {
        if (!holderIsAlive()) fs.rmSync(lockFile, { force: true });
      } catch (readError) {
        if (readError.code !== 'ENOENT') throw readError;
      }
    }
  }
  try {
    return body();
  } finally {
    fs.rmSync(lockFile, { force: true });
  }
}
