import { writeFileSync } from 'node:fs';

import { BatchSampler, evaluationBatches, TokenFile } from '../../lib/data';
import { temporaryFolder } from '../support/temporaryFolder';

const path = temporaryFolder();
const LENGTH = 1000;
let file: TokenFile;

beforeAll(async () => {
  writeFileSync(
    path('tokens.bin'),
    Uint8Array.from({ length: LENGTH }, (_, i) => i % 251),
  );
  file = await TokenFile.open(path('tokens.bin'), 'uint8', 256);
});

afterAll(async () => {
  await file.close();
});

test('targets are the tokens that follow', async () => {
  const sampler = new BatchSampler(file, { batch: 8, context: 16 }, { seed: 1, counter: 0 });
  const { inputs, targets } = await sampler.next();
  expect([inputs.length, targets.length]).toEqual([128, 128]);
  expect(targets.every((id, i) => id === (inputs[i] + 1) % 251)).toBe(true);
});

test('a sampler with a saved state continues exactly', async () => {
  const size = { batch: 4, context: 8 };
  const whole = new BatchSampler(file, size, { seed: 5, counter: 0 });
  const all = [];
  for (let i = 0; i < 6; i++) all.push(await whole.next());
  const first = new BatchSampler(file, size, { seed: 5, counter: 0 });
  for (let i = 0; i < 3; i++) await first.next();
  const second = new BatchSampler(file, size, first.state);
  for (let i = 3; i < 6; i++) expect(await second.next()).toEqual(all[i]);
  const other = new BatchSampler(file, size, { seed: 6, counter: 0 });
  expect(await other.next()).not.toEqual(all[0]);
});

test('positions cover the whole file, its last row included', async () => {
  const sampler = new BatchSampler(file, { batch: 20000, context: 10 }, { seed: 0, counter: 0 });
  const { inputs } = await sampler.next();
  const starts = new Set(Array.from({ length: 20000 }, (_, row) => inputs[row * 10]));
  expect(starts.size).toBe(251);
});

test('evaluation rows are fixed, even and disjoint', async () => {
  const rows = async (batches: number) => {
    const seen: number[] = [];
    for await (const { inputs } of evaluationBatches(file, { batch: 3, context: 10, batches })) {
      seen.push(...inputs);
    }
    return seen;
  };
  expect(await rows(2)).toEqual(await rows(2));
  expect((await rows(2)).length).toBe(60);
  // 999 targets are 99 rows of 10; more are not there.
  expect((await rows(1000)).length).toBe(990);
  expect((await rows(1000)).slice(0, 30)).toEqual(Array.from({ length: 30 }, (_, i) => i));
});

test('a file shorter than a row is refused', async () => {
  expect(
    () => new BatchSampler(file, { batch: 1, context: LENGTH }, { seed: 0, counter: 0 }),
  ).toThrow(expect.objectContaining({ code: 'NO_DATA' }));
  await expect(
    evaluationBatches(file, { batch: 1, context: LENGTH, batches: 1 }).next(),
  ).rejects.toMatchObject({ code: 'NO_DATA' });
  expect(() => new BatchSampler(file, { batch: 0, context: 4 }, { seed: 0, counter: 0 })).toThrow(
    expect.objectContaining({ code: 'OUT_OF_RANGE' }),
  );
});
