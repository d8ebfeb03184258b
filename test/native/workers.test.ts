import path from 'node:path';
import { Worker } from 'node:worker_threads';

// The addon keeps its state per JavaScript environment: worker threads open it at once, each with
// devices of its own, and may end while their work still runs.

const addon =
  process.env.EINLINEAR_BINARY ??
  path.resolve(__dirname, '..', '..', 'build', 'Release', 'einlinear.node');

/** Fills a buffer with the worker's number, reads it back, and provokes an error. */
const program = `
const { parentPort, workerData } = require('node:worker_threads');
class WorkerError extends Error {
  constructor(code, message) { super(message); this.code = code; }
}
const addon = require(workerData.addon);
addon.setErrorClass(WorkerError);
async function main() {
  const device = addon.openDevice('cpu', { threads: 2 });
  const count = 10000;
  const buffer = device.allocate(4 * count);
  const values = new Float32Array(count);
  for (let repeat = 0; repeat < workerData.repeats; repeat++) {
    device.ops.fill(count, workerData.number + repeat, buffer);
    await device.download(buffer, 0, values);
    const expected = workerData.number + repeat;
    if (values.some((value) => value !== expected)) throw new Error('wrong value');
  }
  let error;
  try { device.ops.fill(count + 1, 0, buffer); } catch (thrown) { error = thrown; }
  device.free(buffer);
  device.synchronizeSync();
  parentPort.postMessage({
    ownErrorClass: error instanceof WorkerError,
    buffers: device.memory().buffers,
  });
  if (workerData.close) device.close();
}
main();
`;

/** Queues more work than it waits for; with `leave`, ends the thread from inside. */
const busyProgram = `
const { parentPort, workerData } = require('node:worker_threads');
const addon = require(workerData.addon);
const device = addon.openDevice('cpu', { threads: 2 });
const count = 1 << 20;
const buffer = device.allocate(4 * count);
for (let repeat = 0; repeat < 200; repeat++) device.ops.fill(count, repeat, buffer);
device.download(buffer, 0, new Float32Array(count)).catch(() => {});
parentPort.postMessage('queued');
if (workerData.leave) process.exit(0);
setInterval(() => {}, 1000);
`;

/** Calls into the addon all the time, so that the thread ends in the middle of one. */
const restlessProgram = `
const { parentPort, workerData } = require('node:worker_threads');
const addon = require(workerData.addon);
const device = addon.openDevice('cpu', { threads: 2 });
const count = 1 << 14;
const buffer = device.allocate(4 * count);
const values = new Float32Array(count);
parentPort.postMessage('started');
if (workerData.waits) {
  for (;;) device.downloadSync(buffer, 0, values);
} else {
  const next = () => {
    device.ops.fill(count, 1, buffer);
    for (let i = 0; i < 8; i++) device.download(buffer, 0, values).catch(() => {});
    device.download(buffer, 0, values).then(next, () => {});
  };
  next();
}
`;

interface Ended {
  messages: unknown[];
  exitCode: number;
}

function start(source: string, data: object, onMessage?: (worker: Worker) => void): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const messages: unknown[] = [];
    const worker = new Worker(source, { eval: true, workerData: { addon, ...data } });
    worker.on('message', (message) => {
      messages.push(message);
      onMessage?.(worker);
    });
    worker.on('error', reject);
    worker.on('exit', (exitCode) => resolve({ messages, exitCode }));
  });
}

describe('worker_threads', () => {
  test('four workers use the addon at once, with their own memory and error class', async () => {
    const ended = await Promise.all(
      [0, 1, 2, 3].map((number) =>
        start(program, { number: 1000 * number, repeats: 50, close: number % 2 === 0 }),
      ),
    );
    for (const { messages, exitCode } of ended) {
      expect(exitCode).toBe(0);
      expect(messages).toEqual([{ ownErrorClass: true, buffers: 0 }]);
    }
  });

  test('one after the other loads it again', async () => {
    for (const number of [1, 2, 3]) {
      const { exitCode } = await start(program, { number, repeats: 1, close: false });
      expect(exitCode).toBe(0);
    }
  });

  test('a worker may be terminated, or leave, while its work runs', async () => {
    const terminated = start(busyProgram, { leave: false }, (worker) => void worker.terminate());
    const left = start(busyProgram, { leave: true });
    const ended = await Promise.all([terminated, left]);
    expect(ended.map(({ messages }) => messages)).toEqual([['queued'], ['queued']]);
  });

  test('a worker may be terminated in the middle of a call or of a read', async () => {
    for (let repeat = 0; repeat < 10; repeat++) {
      const ended = await Promise.all(
        [true, false].map((waits) =>
          start(restlessProgram, { waits }, (worker) => {
            setTimeout(() => void worker.terminate(), 3 * repeat);
          }),
        ),
      );
      expect(ended.map(({ messages }) => messages)).toEqual([['started'], ['started']]);
    }
  });
});
