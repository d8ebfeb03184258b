import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';

import { EinlinearError } from '../errors';
import { native, type NativeBackendInfo } from '../native';

/** What ran a training, for whoever reads its numbers later. */
export interface Environment {
  einlinear: string;
  node: string;
  platform: string;
  arch: string;
  cpu: string;
  cores: number;
  memoryBytes: number;
  backends: NativeBackendInfo[];
  time: string;
}

/** Version of this package. */
export function packageVersion(): string {
  const manifest = join(__dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

/** The backends of this machine; where the addon does not load, that is the reason given. */
export function describeBackends(): NativeBackendInfo[] {
  try {
    return native().backends();
  } catch (error) {
    if (!(error instanceof EinlinearError)) throw error;
    return [{ name: 'cpu', available: false, reason: error.message, details: {} }];
  }
}

/** Describes the machine and the software. */
export function describeEnvironment(): Environment {
  const cores = cpus();
  return {
    einlinear: packageVersion(),
    node: process.version,
    platform: process.platform,
    arch: process.arch,
    cpu: cores[0]?.model ?? 'unknown',
    cores: cores.length,
    memoryBytes: totalmem(),
    backends: describeBackends(),
    time: new Date().toISOString(),
  };
}
