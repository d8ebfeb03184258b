import type { EinlinearError } from '../../lib/errors';
import { GPT } from '../../lib/models';
import { device, Generator } from '../../lib/tensor';
import { chooseToken, sampleTokens, type SampleOptions } from '../../lib/train';

const LOGITS = [0, Math.log(2), Math.log(5), Math.log(2)];

/** How often each token is chosen over an even grid of uniform numbers. */
function shares(options: SampleOptions): number[] {
  const counts = LOGITS.map(() => 0);
  for (let i = 0; i < 1000; i++) counts[chooseToken(LOGITS, (i + 0.5) / 1000, options)]++;
  return counts.map((count) => count / 1000);
}

test('tokens are chosen with their probabilities', () => {
  expect(shares({})).toEqual([0.1, 0.2, 0.5, 0.2]);
});

test('temperature sharpens, and zero takes the likeliest', () => {
  expect(shares({ temperature: 0 })).toEqual([0, 0, 1, 0]);
  const sharp = shares({ temperature: 0.5 });
  expect(sharp[2]).toBeCloseTo(25 / 34, 2);
  expect(sharp[0]).toBeCloseTo(1 / 34, 2);
});

test('top-k and top-p leave the likeliest, of equals the lower id', () => {
  expect(shares({ topK: 1 })).toEqual([0, 0, 1, 0]);
  expect(shares({ topK: 2 })).toEqual([0, 0.286, 0.714, 0]);
  expect(shares({ topP: 0.45 })).toEqual([0, 0, 1, 0]);
  expect(shares({ topP: 0.65 })).toEqual([0, 0.286, 0.714, 0]);
  expect(shares({ topP: 1 })).toEqual(shares({}));
});

test('impossible options and logits are refused', () => {
  const bad: SampleOptions[] = [
    { temperature: -1 },
    { temperature: NaN },
    { topK: 0 },
    { topK: 1.5 },
    { topP: 0 },
    { topP: 1.1 },
  ];
  for (const options of bad) {
    expect(() => chooseToken(LOGITS, 0.5, options)).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
  }
  for (const logits of [
    [0, NaN],
    [NaN, 0],
    [Infinity, 0],
    [-Infinity, -Infinity],
  ]) {
    expect(() => chooseToken(logits, 0.5)).toThrow(expect.objectContaining({ code: 'NOT_FINITE' }));
  }
  expect(chooseToken([-Infinity, 0], 0.999)).toBe(1);
});

describe('a model', () => {
  const cpu = device('cpu', { threads: 1 });
  const model = new GPT(
    { vocabSize: 30, contextLength: 8, layers: 1, dModel: 16, headDim: 8 },
    { generator: new Generator(1), device: cpu },
  );

  afterAll(() => {
    model.dispose();
    expect(cpu.memory()).toMatchObject({ tensors: 0, bytes: 0 });
    cpu.close();
  });

  async function write(prompt: number[], count: number, options?: SampleOptions) {
    const ids: number[] = [];
    for await (const id of sampleTokens(model, prompt, count, options)) ids.push(id);
    return ids;
  }

  test('writes beyond its context, within the vocabulary, the same for the same seed', async () => {
    const ids = await write([1, 2, 3], 40, { seed: 4 });
    expect(ids.length).toBe(40);
    expect(ids.every((id) => id >= 0 && id < 30)).toBe(true);
    expect(await write([1, 2, 3], 40, { seed: 4 })).toEqual(ids);
    expect(await write([1, 2, 3], 40, { seed: 5 })).not.toEqual(ids);
    expect(model.training).toBe(true);
  });

  test('refuses an empty prompt and stops when told to', async () => {
    await expect(write([], 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(write([1], 5, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    } satisfies Partial<EinlinearError>);
    await expect(write([30], 1)).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
  });
});
