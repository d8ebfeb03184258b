import { writeFileSync } from 'node:fs';

import { prepareText } from '../../lib/data';
import type { GPTConfig } from '../../lib/models';
import type { TrainConfigInput } from '../../lib/train';
import { prose } from '../support/prose';

/** Prepares a small text into a folder beside it. */
export async function prepareTinyData(folder: string): Promise<string> {
  writeFileSync(`${folder}.txt`, prose(400));
  await prepareText(`${folder}.txt`, folder);
  return folder;
}

/** A run of seconds; every part of the state matters in it: two micro-batches, dropout, a schedule. */
export function tinyConfig(
  data: string,
  model: Partial<GPTConfig> = {},
  settings: Partial<TrainConfigInput> = {},
): TrainConfigInput {
  return {
    data,
    model: {
      vocabSize: 96,
      contextLength: 16,
      layers: 2,
      dModel: 32,
      headDim: 16,
      dropout: 0.1,
      ...model,
    },
    batch: 4,
    gradAccumulation: 2,
    steps: 20,
    warmup: 4,
    schedule: 'cosine',
    weightDecay: 0.01,
    seed: 3,
    threads: 2,
    evalEvery: 5,
    evalBatches: 2,
    logEvery: 1,
    checkpointEvery: 0,
    ...settings,
  };
}
