import { InvalidArgumentError } from 'commander';

import { preferredDevice, type DeviceName, type PreferredDevice } from '../tensor';

/** What `--device` takes. */
export type DeviceFlag = 'auto' | DeviceName;

/** Reads `--device`. */
export function deviceName(text: string): DeviceFlag {
  if (!/^(auto|cpu|cuda(:\d+)?|cuda-emulated)$/.test(text)) {
    throw new InvalidArgumentError('Expected auto, cpu, cuda or cuda:1.');
  }
  return text as DeviceFlag;
}

/** The device a flag means: auto takes the GPU where one works, with the reason where none does. */
export function pickDevice(flag: DeviceFlag): PreferredDevice {
  return flag === 'auto' ? preferredDevice() : { name: flag, reason: null };
}
