import type { Device } from './device';
import type { Storage } from './storage';

/**
 * What one call allocates. Storages that nobody takes are released with the workspace, so that a
 * call which throws half-way leaves nothing behind, and temporaries need no clean-up of their own.
 */
export class Workspace {
  private readonly made = new Set<Storage>();

  constructor(readonly device: Device) {}

  /** Uninitialised memory for `size` elements. */
  allocate(size: number): Storage {
    const storage = this.device.allocate(size);
    this.made.add(storage);
    return storage;
  }

  /** A reference for the caller to keep: the workspace's own, or a new one to a foreign storage. */
  take(storage: Storage): Storage {
    return this.made.delete(storage) ? storage : storage.retain();
  }

  release(): void {
    for (const storage of this.made) storage.release();
    this.made.clear();
  }
}

/** Runs `body` with a workspace, and releases what it did not take. */
export function withWorkspace<T>(device: Device, body: (workspace: Workspace) => T): T {
  const workspace = new Workspace(device);
  try {
    return body(workspace);
  } finally {
    workspace.release();
  }
}
