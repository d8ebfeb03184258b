import { EinlinearError } from '../errors';
import type { NativeBuffer } from '../native';
import type { Device } from './device';

/** What is known about the integers in a storage without reading them back. */
export interface KnownIntegers {
  /** Every row holds distinct experts below this number. */
  readonly experts?: number;
  /** A permutation of this many rows. */
  readonly permutation?: number;
  /** Ascends from 0 to this many rows. */
  readonly groups?: number;
}

/**
 * Device memory of a whole number of 32-bit elements, shared by tensor handles and by what the tape
 * saved; freed when the last of them lets go.
 */
export class Storage {
  readonly device: Device;
  /** Number of elements. */
  readonly size: number;
  /** Set by the op that wrote the storage, cleared by whoever overwrites it. */
  known: KnownIntegers | null = null;
  private readonly handle: NativeBuffer;
  private count = 1;

  /** Takes ownership of the buffer, with one reference. */
  constructor(device: Device, handle: NativeBuffer, size: number) {
    this.device = device;
    this.handle = handle;
    this.size = size;
  }

  /** The native buffer, to be passed to `device.ops`. */
  get buffer(): NativeBuffer {
    return this.handle;
  }

  /** How many owners there are; an owner that is alone may write into it. */
  get references(): number {
    return this.count;
  }

  retain(): this {
    if (this.count === 0) {
      throw new EinlinearError('INTERNAL', 'Expected a live storage, got one that was freed');
    }
    this.count += 1;
    return this;
  }

  release(): void {
    if (this.count === 0) {
      throw new EinlinearError('INTERNAL', 'Expected a live storage, got one that was freed');
    }
    this.count -= 1;
    if (this.count === 0) this.device.native.free(this.handle);
  }
}
