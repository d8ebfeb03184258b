import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

import type { IndexName } from '../../lib/structure';

const CASES = join(__dirname, '../reference/cases');

/** What a reference case of a single layer says about its structure. */
export interface LayerCase {
  readonly kind: 'linear' | 'rejected' | 'btt_norm' | 'btt_moe';
  readonly theta: string;
  readonly d_in: number;
  readonly d_out: number;
  readonly rank: number;
  readonly experts: number;
  readonly k: number;
  readonly dims: Readonly<Record<IndexName, number>>;
  readonly norm_eps: number;
  readonly core_fans: readonly [readonly [number, number], readonly [number, number]];
  readonly init_std: readonly [number, number];
  readonly adam_lr_mult: readonly [number, number];
}

/** Names and metadata of the reference cases of one kind; their tensors stay unread. */
export function layerCases(kind: LayerCase['kind']): [string, LayerCase][] {
  return readdirSync(CASES)
    .filter((file) => file.endsWith('.safetensors'))
    .map((file): [string, LayerCase] => [file, metadata(join(CASES, file))])
    .filter(([, layer]) => layer.kind === kind);
}

function metadata(path: string): LayerCase {
  const file = openSync(path, 'r');
  try {
    const length = Buffer.alloc(8);
    readSync(file, length, 0, 8, 0);
    const header = Buffer.alloc(Number(length.readBigUInt64LE()));
    readSync(file, header, 0, header.length, 8);
    const { __metadata__ } = JSON.parse(header.toString('utf8')) as {
      __metadata__: { case: string };
    };
    return JSON.parse(__metadata__.case) as LayerCase;
  } finally {
    closeSync(file);
  }
}
