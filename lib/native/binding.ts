import type { EinlinearError } from '../errors';
import type { Compute, NativeBuffer, NativeOps } from './ops';

/** Live memory of one device, in bytes; `reserved` includes what the device keeps for reuse. */
export interface NativeMemory {
  buffers: number;
  bytes: number;
  reserved: number;
}

/** One stream: ops run in the order of the calls, on the backend's own threads. */
export interface NativeDevice {
  /** Uninitialised memory. Throws OUT_OF_MEMORY. */
  allocate(bytes: number): NativeBuffer;
  /** Idempotent; ops already queued may still use the buffer. */
  free(buffer: NativeBuffer): void;
  /** Copies `data` now; later changes to it have no effect. */
  upload(buffer: NativeBuffer, data: ArrayBufferView, byteOffset: number): void;
  /** Fills `target` when the stream gets there; rejects with the stream's pending error. */
  download(buffer: NativeBuffer, byteOffset: number, target: ArrayBufferView): Promise<void>;
  downloadSync(buffer: NativeBuffer, byteOffset: number, target: ArrayBufferView): void;
  synchronize(): Promise<void>;
  synchronizeSync(): void;
  memory(): NativeMemory;
  /** Blocks until the stream is done and gives cached memory back to the system. */
  trim(): void;
  /** How products called from now on may round. Throws NOT_SUPPORTED. */
  setCompute(compute: Compute): void;
  /** Does not wait for the op that runs; memory is given back after it. */
  close(): void;
  readonly ops: NativeOps;
}

export interface NativeBackendInfo {
  name: string;
  available: boolean;
  /** Why it is not available. */
  reason?: string;
  details: Record<string, string | number>;
}

export interface NativeBinding {
  setErrorClass(errorClass: typeof EinlinearError): void;
  openDevice(backend: string, options: { threads?: number; index?: number }): NativeDevice;
  backends(): NativeBackendInfo[];
}
