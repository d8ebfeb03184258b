import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { native } from '../../lib/native';
import type { NativeBuffer, NativeDevice } from '../../lib/native';

// Ops trust their arguments, so what JavaScript passes is checked at the door. Counts whose product
// exceeds 64 bits must not pass as small ones.

let device: NativeDevice;
let buffer: NativeBuffer;
beforeAll(() => {
  device = native().openDevice('cpu', { threads: 2 });
  buffer = device.allocate(64);
});
afterAll(() => {
  device.free(buffer);
  device.close();
});

function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'none';
}

test('products of sizes that exceed 64 bits', () => {
  const { ops } = device;
  const b = buffer;
  expect(codeOf(() => ops.reduce(0, 1, 2 ** 32, 2 ** 32, b, b))).toBe('SHAPE_MISMATCH');
  expect(codeOf(() => ops.softmax(2 ** 40, 2 ** 24, false, b, b))).toBe('SHAPE_MISMATCH');
  expect(codeOf(() => ops.stridedCopy([2 ** 32 + 1], [2 ** 32], 0, [0], 0, false, b, b))).toBe(
    'SHAPE_MISMATCH',
  );
  expect(
    codeOf(() =>
      ops.matmul(2 ** 32 + 1, 1, 1, 1, false, false, false, 2 ** 32, 2 ** 32, b, b, null, b),
    ),
  ).toBe('SHAPE_MISMATCH');
  const half = 2 ** 22;
  expect(
    codeOf(() => ops.einsum([1, 1, half, half, half, half, half, half, 1], 1, b, b, b, null, b)),
  ).toBe('OUT_OF_MEMORY');
  // The factors fit; what a token needs between the stages does not.
  const wide = device.allocate(4 * half);
  expect(
    codeOf(() => ops.einsum([1, 1, half, half, 1, 1, 1, 1, 1], 1, b, wide, wide, null, b)),
  ).toBe('OUT_OF_MEMORY');
  device.free(wide);
  device.synchronizeSync();
});

test('numbers of bytes', () => {
  expect(codeOf(() => device.allocate(2 ** 60))).toBe('OUT_OF_MEMORY');
  expect(codeOf(() => device.allocate(1.5))).toBe('INVALID_ARGUMENT');
  expect(codeOf(() => device.allocate(-1))).toBe('INVALID_ARGUMENT');
  expect(codeOf(() => device.allocate(NaN))).toBe('INVALID_ARGUMENT');
});

test('scratch memory that there is none for fails the op, not the process', async () => {
  const side = 2 ** 18;
  const wide = device.allocate(4 * side);
  device.ops.einsum([1, 1, side, side, 1, 1, 1, 1, 1], 1, buffer, wide, wide, null, buffer);
  await expect(device.synchronize()).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
  await device.synchronize();
  device.free(wide);
});

test('offsets of groups cover every row', async () => {
  const offsets = device.allocate(12);
  for (const bad of [
    [1, 1, 2],
    [0, 1, 1],
    [0, 3, 2],
    [0, -1, 2],
    [0, 1, 3],
  ]) {
    device.upload(offsets, Int32Array.from(bad), 0);
    device.ops.groupedLinear(2, 2, 1, 1, offsets, buffer, buffer, null, buffer);
    await expect(device.synchronize()).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
    await device.synchronize();
  }
  device.free(offsets);
});

test('a closed device keeps no scratch memory', () => {
  if (process.platform !== 'linux') return;
  const resident = (): number =>
    Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
  const side = 1024;
  const openAndClose = (times: number): void => {
    for (let i = 0; i < times; i++) {
      const own = native().openDevice('cpu', { threads: 1 });
      const [x, y] = [own.allocate(4 * side * side), own.allocate(4 * side * side)];
      own.ops.matmul(1, side, side, 64, false, false, false, 0, 0, x, x, null, y);
      own.ops.matmul(1, 64, 64, side * 16, false, false, false, 0, 0, x, x, null, y);
      own.synchronizeSync();
      own.free(x);
      own.free(y);
      own.close();
    }
  };
  // What the allocator (or a sanitizer, up to 256 MB) holds back of freed memory does not grow after this.
  openAndClose(40);
  const before = resident();
  openAndClose(40);
  // Each of the 40 needed about 8 MB of scratch memory.
  expect(resident() - before).toBeLessThan(150e6);
});

test('a system that refuses threads', () => {
  if (process.platform !== 'linux' || process.env.LD_PRELOAD) return;
  const program = `
    const addon = require(${JSON.stringify(addonPath())});
    const devices = [];
    try { for (;;) devices.push(addon.openDevice('cpu', { threads: 1 })); }
    catch (error) { console.log(error.code); }
  `;
  // A thread reserves address space for its stack, of which there is little here.
  const { status, stdout } = spawnSync(
    'bash',
    ['-c', 'ulimit -v 4000000; exec "$0" -e "$1"', process.execPath, program],
    { encoding: 'utf8' },
  );
  expect({ status, stdout }).toEqual({ status: 0, stdout: 'OUT_OF_MEMORY\n' });
});

function addonPath(): string {
  return process.env.EINLINEAR_BINARY ?? require.resolve('../../build/Release/einlinear.node');
}
