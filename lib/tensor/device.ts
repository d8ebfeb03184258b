import { EinlinearError } from '../errors';
import type { NativeDevice, NativeOps } from '../native';
import { native, Compute as NativeCompute } from '../native';
import { BYTES_PER_ELEMENT } from './dtype';
import { Storage } from './storage';

/**
 * A backend, and for 'cuda' which of the visible GPUs (without a number the first). 'cuda-emulated' runs
 * the CUDA sources on the CPU, slowly, for tests.
 */
export type DeviceName = 'cpu' | 'cuda' | `cuda:${number}` | 'cuda-emulated';

/**
 * How products (matmul, structured and grouped linear layers, attention) may round their operands; tensors
 * are float32 and sums are taken in float32 always.
 */
export type Compute = keyof typeof NativeCompute;

export interface DeviceOptions {
  /** Threads an op of the CPU may use; by default EINLINEAR_THREADS, or every core of the process. */
  threads?: number | undefined;
}

export interface MemoryInfo {
  /** Tensor handles that were not disposed. */
  tensors: number;
  /** Bytes of live device memory, including what the tape saved. */
  bytes: number;
  /** Bytes held from the system, including freed memory kept for reuse. */
  reserved: number;
}

const MAX_THREADS = 1024;
const openDevices = new Set<Device>();
let sharedDevice: Device | null = null;

/**
 * Where tensors live and ops run: one in-order queue of work. Ops return as soon as they are queued
 * and run on the backend's own threads; only reading a result waits.
 */
export class Device {
  /** Name of the backend. */
  readonly name: DeviceName;
  /** The addon's device; for internal use. */
  readonly native: NativeDevice;
  private closed = false;
  private tensors = 0;
  private computeMode: Compute = 'float32';

  /** Use {@link device} instead. */
  constructor(name: DeviceName, options: DeviceOptions = {}) {
    const { threads } = options;
    if (
      threads !== undefined &&
      !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)
    ) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected threads to be a whole number from 1 to ${MAX_THREADS}, got ${threads}`,
        { threads },
      );
    }
    const [, backend, index] = /^(\w[\w-]*?)(?::(\d+))?$/.exec(name) ?? [];
    if (backend === undefined || (index !== undefined && backend !== 'cuda')) {
      throw new EinlinearError(
        'BACKEND_UNAVAILABLE',
        `Expected a device such as cpu, cuda or cuda:1, got '${name}'`,
        { device: name },
      );
    }
    this.name = name;
    this.native = native().openDevice(backend, {
      ...(threads !== undefined && { threads }),
      ...(index !== undefined && { index: Number(index) }),
    });
    openDevices.add(this);
  }

  /** The op table on raw buffers, for modules that update memory in place (optimisers). */
  get ops(): NativeOps {
    return this.native.ops;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** How products called from now on may round; 'float32' at first. */
  get compute(): Compute {
    return this.computeMode;
  }

  /** @throws NOT_SUPPORTED where the device cannot compute so (the CPU: anything but 'float32') */
  set compute(compute: Compute) {
    if (compute === this.computeMode) return;
    this.native.setCompute(NativeCompute[compute]);
    this.computeMode = compute;
  }

  /**
   * Uninitialised memory for `size` 32-bit elements, with one reference owned by the caller.
   *
   * @throws OUT_OF_MEMORY, DISPOSED when the device was closed
   */
  allocate(size: number): Storage {
    return new Storage(this, this.native.allocate(size * BYTES_PER_ELEMENT), size);
  }

  /**
   * Waits until everything queued so far has run.
   *
   * @throws the error of the first op that failed while running, if one did
   */
  async synchronize(): Promise<void> {
    await this.native.synchronize();
  }

  /** As {@link synchronize}, blocking the thread. */
  synchronizeSync(): void {
    this.native.synchronizeSync();
  }

  /** What is live on this device. */
  memory(): MemoryInfo {
    if (this.closed) return { tensors: 0, bytes: 0, reserved: 0 };
    const { bytes, reserved } = this.native.memory();
    return { tensors: this.tensors, bytes, reserved };
  }

  /**
   * Gives cached memory back to the system. Blocks the thread until everything queued so far has run;
   * `await` {@link synchronize} before it where that matters.
   */
  trim(): void {
    this.native.trim();
  }

  /** Counts tensor handles; for internal use. */
  track(change: 1 | -1): void {
    this.tensors += change;
  }

  /**
   * Stops the device without waiting. Queued work is dropped, pending reads reject with ABORTED, and
   * tensors on it can only be disposed. An op that runs is finished on the backend's threads; memory goes
   * back to the system after it. Idempotent.
   */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    openDevices.delete(this);
    if (sharedDevice === this) sharedDevice = null;
    this.native.close();
  }

  toString(): string {
    return this.name;
  }
}

/**
 * Opens a device of its own queue.
 *
 * @param name 'cpu', 'cuda' or 'cuda:1'
 * @throws BACKEND_UNAVAILABLE for an unknown backend, one that cannot run here (with the reason), or when
 *   the addon does not load;
 *   INVALID_ARGUMENT for a bad thread count
 */
export function device(name: DeviceName = 'cpu', options: DeviceOptions = {}): Device {
  return new Device(name, options);
}

/** What {@link preferredDevice} found. */
export interface PreferredDevice {
  name: DeviceName;
  /** Why it is not the GPU, where it is not. */
  reason: string | null;
}

/** The device to use when any will do: the first GPU where one works, otherwise the CPU, with the reason. */
export function preferredDevice(): PreferredDevice {
  const cuda = native()
    .backends()
    .find(({ name }) => name === 'cuda');
  if (cuda?.available) return { name: 'cuda', reason: null };
  return { name: 'cpu', reason: cuda?.reason ?? 'there is no CUDA backend' };
}

/**
 * The device that tensors are created on when none is named: what the environment variable
 * EINLINEAR_DEVICE names, or the CPU. Opened at the first use.
 */
export function defaultDevice(): Device {
  sharedDevice ??= new Device((process.env.EINLINEAR_DEVICE as DeviceName | undefined) ?? 'cpu');
  return sharedDevice;
}

/**
 * The device an option names, or the default one.
 *
 * @throws INVALID_ARGUMENT for anything but a {@link Device} (a name has to be opened first)
 */
export function resolveDevice(given: Device | undefined): Device {
  if (given === undefined) return defaultDevice();
  if (!((given as unknown) instanceof Device)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected a Device, such as device('cpu') opens, got ${JSON.stringify(given)}`,
      { device: given },
    );
  }
  return given;
}

/**
 * Makes `next` the device that {@link defaultDevice} returns. The former one stays open.
 *
 * @throws INVALID_ARGUMENT for anything but a device, DISPOSED for a closed one
 */
export function setDefaultDevice(next: Device): void {
  resolveDevice(next);
  if (next.isClosed) {
    throw new EinlinearError('DISPOSED', 'Expected an open device, got one that was closed');
  }
  sharedDevice = next;
}

/** What is live on all open devices of this thread. */
export function memory(): MemoryInfo {
  const total: MemoryInfo = { tensors: 0, bytes: 0, reserved: 0 };
  for (const each of openDevices) {
    const { tensors, bytes, reserved } = each.memory();
    total.tensors += tensors;
    total.bytes += bytes;
    total.reserved += reserved;
  }
  return total;
}
