import { native } from '../../lib/native';
import type { NativeDevice } from '../../lib/native';

// Freed memory is kept for reuse, but not without end.

const MB = 2 ** 20;

let device: NativeDevice;
beforeEach(() => {
  device = native().openDevice('cpu', { threads: 1 });
});
afterEach(() => device.close());

/** Allocates buffers of these sizes and frees them. */
function use(...sizes: number[]): void {
  const buffers = sizes.map((bytes) => device.allocate(bytes));
  for (const buffer of buffers) device.free(buffer);
}

test.each([1.005, 1.05, 1.3])('sizes that grow by a factor of %d', (factor) => {
  for (let size = MB; size < 200 * MB; size *= factor) {
    const bytes = Math.floor(size);
    use(bytes, bytes, Math.floor(bytes / 3));
    const peak = 2 * bytes + Math.floor(bytes / 3);
    // Sizes are rounded up to eight steps a doubling.
    expect(device.memory().reserved).toBeLessThanOrEqual(2.25 * peak + 64 * MB);
  }
});

test('what is held serves somewhat smaller sizes too', () => {
  use(100 * MB);
  use(85 * MB);
  expect(device.memory().reserved).toBeLessThan(150 * MB);
});

test.each([2, 3, 5, 9])('steps of %d phases of different sizes reuse memory', (phases) => {
  const kept = device.allocate(10 * MB);
  const step = (): void => {
    for (let phase = 0; phase < phases; phase++) {
      const bytes = Math.floor((100 * MB) / 1.5 ** phase);
      use(...Array<number>(Math.round(1.5 ** phase)).fill(bytes));
    }
  };
  for (let i = 0; i < 5; i++) step();
  const { reserved } = device.memory();
  for (let i = 0; i < 500; i++) {
    step();
    expect(device.memory().reserved).toBe(reserved);
  }
  device.free(kept);
});

test('sizes at random', () => {
  let state = 1;
  const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
  let most = 0;
  for (let i = 0; i < 1000; i++) {
    use(...Array.from({ length: 4 }, () => Math.floor(MB * 100 ** random())));
    most = Math.max(most, device.memory().reserved);
  }
  expect(most).toBeLessThan(4 * 400 * MB);
});

test('scratch memory is counted and given back', () => {
  const side = 512;
  const x = device.allocate(4 * side * side);
  const y = device.allocate(4 * side * side);
  device.ops.fill(side * side, 1, x);
  device.synchronizeSync();
  const before = device.memory().reserved;
  device.ops.matmul(1, side, side, side, false, false, false, 0, 0, x, x, null, y);
  device.synchronizeSync();
  expect(device.memory().reserved).toBeGreaterThan(before);
  device.trim();
  expect(device.memory().reserved).toBe(before);
  device.free(x);
  device.free(y);
  device.trim();
  expect(device.memory()).toEqual({ buffers: 0, bytes: 0, reserved: 0 });
});
