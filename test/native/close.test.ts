import { native } from '../../lib/native';
import type { NativeBuffer, NativeDevice } from '../../lib/native';

// Closing does not wait for the op that runs; that op still has its memory, whoever frees it.

const side = 1024;

function open(): { device: NativeDevice; buffers: NativeBuffer[]; multiply: () => void } {
  const device = native().openDevice('cpu', { threads: 1 });
  const buffers = Array.from({ length: 3 }, () => device.allocate(4 * side * side));
  const [a, b, c] = buffers as [NativeBuffer, NativeBuffer, NativeBuffer];
  for (const each of buffers) device.ops.fill(side * side, 1, each);
  const multiply = (): void =>
    device.ops.matmul(1, side, side, side, false, false, false, 0, 0, a, b, null, c);
  return { device, buffers, multiply };
}

test('close does not wait, and pending reads are rejected', async () => {
  const { device, buffers, multiply } = open();
  for (let i = 0; i < 4; i++) multiply();
  device.synchronizeSync();
  const started = performance.now();
  for (let i = 0; i < 4; i++) multiply();
  device.synchronizeSync();
  const busy = performance.now() - started;

  for (let i = 0; i < 40; i++) multiply();
  const reads = Array.from({ length: 3 }, (_, i) =>
    device.download(buffers[i], 0, new Float32Array(side * side)),
  );
  await new Promise((resolve) => setTimeout(resolve, busy / 8)); // an op runs
  const closing = performance.now();
  device.close();
  expect(performance.now() - closing).toBeLessThan(busy / 4);
  device.close();
  for (const read of reads) await expect(read).rejects.toMatchObject({ code: 'ABORTED' });
  for (const buffer of buffers) device.free(buffer);
  expect(() => device.allocate(4)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
});

test('buffers freed while the last op runs go after it', async () => {
  const { device, buffers, multiply } = open();
  for (let i = 0; i < 4; i++) multiply();
  device.close();
  for (const buffer of buffers) device.free(buffer);
  const deadline = Date.now() + 20_000;
  while (device.memory().reserved > 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(device.memory()).toEqual({ buffers: 0, bytes: 0, reserved: 0 });
});

test('buffers freed after the device has stopped go at once', async () => {
  const { device, buffers, multiply } = open();
  multiply();
  await device.synchronize();
  device.close();
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (const buffer of buffers) device.free(buffer);
  expect(device.memory().bytes).toBe(0);
});
