import {
  Device,
  defaultDevice,
  device,
  full,
  memory,
  ones,
  rand,
  setDefaultDevice,
  tensor,
  tidy,
} from '../../lib/tensor';
import type { DeviceName } from '../../lib/tensor';
import { watchEventLoop } from '../support/eventLoop';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

test('the event loop stays free while a long op runs', async () => {
  /** Longest pause between two turns of the event loop, in milliseconds, while a read waits. */
  const longestPause = async (): Promise<number> => {
    const stop = watchEventLoop();
    // About as long on either: emulated threads are slow.
    const side = defaultDevice().name === 'cuda-emulated' ? 192 : 1024;
    const x = rand([side, side]);
    const y = tidy(() => {
      let product = x.matmul(x);
      for (let i = 0; i < 10; i++) product = product.matmul(x);
      return product;
    });
    await y.data();
    const { longest, turns } = stop();
    y.dispose();
    x.dispose();
    expect(turns).toBeGreaterThan(2);
    return longest;
  };
  // A loop that is blocked pauses every time; a machine with other work to do, now and then.
  const pauses: number[] = [];
  do pauses.push(await longestPause());
  while (pauses[pauses.length - 1] >= 50 && pauses.length < 5);
  expect(Math.min(...pauses)).toBeLessThan(50);
});

test('reads come in order with the ops around them', async () => {
  const x = ones([4]);
  const before = x.data();
  x.device.ops.fill(4, 7, x.buffer);
  const after = x.data();
  expect([...(await before)]).toEqual([1, 1, 1, 1]);
  expect([...(await after)]).toEqual([7, 7, 7, 7]);
  x.dispose();
});

test('synchronize', async () => {
  const x = ones([4]);
  await defaultDevice().synchronize();
  defaultDevice().synchronizeSync();
  x.dispose();
});

test('memory counts handles and bytes', () => {
  const own = device('cpu', { threads: 1 });
  expect(own.memory()).toMatchObject({ tensors: 0, bytes: 0 });
  const x = ones([100], { device: own });
  const view = x.reshape([10, 10]);
  expect(own.memory()).toMatchObject({ tensors: 2, bytes: 400 });
  expect(own.memory().reserved).toBeGreaterThanOrEqual(400);
  x.dispose();
  expect(own.memory()).toMatchObject({ tensors: 1, bytes: 400 });
  view.dispose();
  expect(own.memory()).toMatchObject({ tensors: 0, bytes: 0 });
  own.trim();
  expect(own.memory().reserved).toBe(0);
  own.close();
});

test('a closed device', async () => {
  const own = device('cpu', { threads: 1 });
  const all = memory().tensors;
  const x = full([3], 2, { device: own });
  expect(memory().tensors).toBe(all + 1);
  own.close();
  own.close();
  expect(own.isClosed).toBe(true);
  expect(memory().tensors).toBe(all);
  expect(() => x.add(1)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
  expect(() => ones([1], { device: own })).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
  await expect(x.data()).rejects.toMatchObject({ code: 'DISPOSED' });
  expect(() => setDefaultDevice(own)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
  x.dispose();
});

test('pending reads of a device that closes are rejected', async () => {
  const own = device('cpu', { threads: 1 });
  const x = rand([512, 512], { device: own });
  // Far more than can have run by the time the device closes, and dropped unrun.
  const y = tidy(() => {
    let product = x.matmul(x);
    for (let i = 0; i < 200; i++) product = product.matmul(x);
    return product;
  });
  const read = y.data();
  own.close();
  await expect(read).rejects.toMatchObject({ code: 'ABORTED' });
  x.dispose();
  y.dispose();
});

test('the default device can be replaced', () => {
  const before = defaultDevice();
  const own = device('cpu', { threads: 2 });
  setDefaultDevice(own);
  const x = ones([1]);
  expect(x.device).toBe(own);
  x.dispose();
  setDefaultDevice(before);
  own.close();
});

test('bad arguments', () => {
  expect(() => device('tpu' as DeviceName)).toThrow(
    expect.objectContaining({ code: 'BACKEND_UNAVAILABLE' }),
  );
  expect(() => device('cpu', { threads: 0 })).toThrow(
    'Expected threads to be a whole number from 1 to 1024, got 0',
  );
  expect(() => device('cpu', { threads: 1.5 })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
  const own = device('cpu', { threads: 1 });
  expect(own).toBeInstanceOf(Device);
  const [here, there] = [tensor([1]), tensor([1], { device: own })];
  expect(() => here.add(there)).toThrow(
    expect.objectContaining({
      code: 'DEVICE_MISMATCH',
      message: expect.stringContaining('Expected b to be on the device of a'),
    }),
  );
  here.dispose();
  there.dispose();
  own.close();
});
