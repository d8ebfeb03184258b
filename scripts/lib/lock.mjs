// One build at a time in a checkout: a second one waits instead of mixing its files with the first's.
import fs from 'node:fs';
import path from 'node:path';
import { at } from './project.mjs';

const RETRY_MS = 200;
const GIVE_UP_MINUTES = 15;

/** When a process was started, in the system's own clock; '' where that cannot be known. */
function startOf(pid) {
  let stat;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return '';
  }
  // The second field is the program's name in parentheses and may hold anything; the start is the 22nd.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Whether the process that wrote this lock still runs, and is not another one that was given its number. */
function isHeld(content) {
  const [pid, start] = content.split(' ');
  if (!/^[1-9]\d*$/.test(pid) || !isAlive(Number(pid))) return false;
  return !start || [start, ''].includes(startOf(pid));
}

function readIfThere(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return null;
  }
}

/** Gives a file a second name unless there is one of that name. @returns whether it did */
function link(file, name) {
  try {
    fs.linkSync(file, name);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST' && error.code !== 'ENOENT') throw error;
    return false;
  }
}

/** Takes the lock unless it is there. It appears with its content, so nobody ever reads half of one. */
function take(file, content) {
  const own = `${file}.${process.pid}`;
  fs.writeFileSync(own, content);
  try {
    return link(own, file);
  } finally {
    fs.rmSync(own, { force: true });
  }
}

/** Removes a lock left behind. Of many who found it one does, and never the lock that the next has taken since. */
function removeStale(file, content) {
  const aside = `${file}.stale-${content.replace(/\W+/g, '-')}`;
  if (!link(file, aside)) return;
  if (readIfThere(aside) === content) fs.rmSync(file, { force: true });
  fs.rmSync(aside, { force: true });
}

/**
 * Runs `body` (synchronous) while no other script of this checkout does.
 *
 * @throws when the other has not ended after a quarter of an hour
 */
export function withLock(body, { file = at('.build', 'lock'), minutes = GIVE_UP_MINUTES } = {}) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const own = `${process.pid} ${startOf(process.pid)}`;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const end = performance.now() + minutes * 60_000;
  let told = false;
  while (!take(file, own)) {
    const content = readIfThere(file);
    if (content === null) continue;
    const [pid] = content.split(' ');
    if (performance.now() > end) {
      throw new Error(
        `Another build (pid ${pid}) has held ${file} for ${minutes} minutes: ` +
          'end it, or delete the file if that process is no build',
      );
    }
    if (!isHeld(content)) {
      removeStale(file, content);
    } else if (!told) {
      process.stderr.write(`waiting for another build (pid ${pid})\n`);
      told = true;
    }
    Atomics.wait(pause, 0, 0, told ? RETRY_MS : 1);
  }
  try {
    return body();
  } finally {
    fs.rmSync(file, { force: true });
  }
}
