import { InvalidArgumentError } from 'commander';

import { preferredDevice, type DeviceName } from '../tensor';
import type { CommandIO } from './io';

/** What `--device` takes. */
export type DeviceFlag = 'auto' | DeviceName;

/** Reads `--device`. */
export function deviceName(text: string): DeviceFlag {
  if (!/^(auto|cpu|cuda(:\d+)?|cuda-emulated)$/.test(text)) {
    throw new InvalidArgumentError('Expected auto, cpu, cuda or cuda:1.');
  }
  return text as DeviceFlag;
}

/** The device a flag means: auto takes the GPU where one works, and says why where none does. */
export function pickDevice(io: CommandIO, flag: DeviceFlag): DeviceName {
  if (flag !== 'auto') return flag;
  const { name, reason } = preferredDevice();
  if (reason !== null) io.stderr.write(`Device ${name} (cuda: ${reason})\n`);
  return name;
}
