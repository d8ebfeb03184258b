import { uniformAt } from '../data';
import { EinlinearError } from '../errors';
import type { GPT } from '../models';
import { noGrad, tensor, tidy } from '../tensor';

/** How the next token is chosen. */
export interface SampleOptions {
  /** Divides the logits; 0 always takes the likeliest token (default 1). */
  temperature?: number;
  /** Only the k likeliest tokens can be chosen (default: all). */
  topK?: number;
  /** Only the likeliest tokens that together reach this probability can be chosen (default 1: all). */
  topP?: number;
  /** Decides the choices (default 0). */
  seed?: number;
  signal?: AbortSignal;
}

/** Keeps the sampling's random numbers apart from others of the same seed. */
const STREAM = 0x73616d70;

function check(name: string, value: number, valid: boolean, expected: string): void {
  if (valid) return;
  throw new EinlinearError('OUT_OF_RANGE', `Expected ${name} to be ${expected}, got ${value}`, {
    [name]: value,
  });
}

/**
 * Chooses a token.
 *
 * @param logits [classes]
 * @param uniform number in [0, 1) that decides
 * @throws EinlinearError `NOT_FINITE` for logits that are no numbers, `OUT_OF_RANGE`
 */
export function chooseToken(
  logits: ArrayLike<number>,
  uniform: number,
  {
    temperature = 1,
    topK = logits.length,
    topP = 1,
  }: Pick<SampleOptions, 'temperature' | 'topK' | 'topP'> = {},
): number {
  check('temperature', temperature, temperature >= 0 && temperature < Infinity, 'at least 0');
  check('topK', topK, Number.isSafeInteger(topK) && topK >= 1, 'a positive integer');
  check('topP', topP, topP > 0 && topP <= 1, 'above 0 and at most 1');
  // Likeliest first; of equals the one with the lower id.
  const order = Array.from({ length: logits.length }, (_, id) => id).sort(
    (a, b) => logits[b] - logits[a] || a - b,
  );
  const best = logits[order[0]];
  if (!Array.from(logits).every((logit) => logit < Infinity) || !Number.isFinite(best)) {
    throw new EinlinearError('NOT_FINITE', 'Expected logits to be finite, got NaN or infinity');
  }
  if (temperature === 0) return order[0];
  let candidates = order
    .slice(0, topK)
    .map((id) => ({ id, weight: Math.exp((logits[id] - best) / temperature) }));
  const total = candidates.reduce((sum, { weight }) => sum + weight, 0);
  let mass = 0;
  const cut = candidates.findIndex(({ weight }) => (mass += weight) >= topP * total);
  if (cut >= 0) candidates = candidates.slice(0, cut + 1);
  const kept = candidates.reduce((sum, { weight }) => sum + weight, 0);
  let left = uniform * kept;
  for (const { id, weight } of candidates) {
    left -= weight;
    if (left < 0) return id;
  }
  return candidates[candidates.length - 1].id;
}

/**
 * Tokens that a model writes after a prompt, one by one. The model sees as many of the last tokens as its context holds.
 *
 * @param prompt ids, at least one
 * @param count number of tokens to write
 * @throws EinlinearError `INVALID_ARGUMENT` for an empty prompt, `OUT_OF_RANGE`, `NOT_FINITE`, `ABORTED`
 */
export async function* sampleTokens(
  model: GPT,
  prompt: ArrayLike<number>,
  count: number,
  { seed = 0, signal, ...choice }: SampleOptions = {},
): AsyncGenerator<number> {
  if (prompt.length === 0) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      'Expected a prompt of at least one token, got none',
    );
  }
  const { contextLength, vocabSize } = model.config;
  const { device } = model.tokenEmbedding.weight;
  const tokens = Array.from(prompt);
  const wasTraining = model.training;
  model.eval();
  try {
    for (let i = 0; i < count; i++) {
      if (signal?.aborted)
        throw new EinlinearError('ABORTED', `Sampling was aborted at token ${i}`);
      const seen = tokens.slice(-contextLength);
      const logits = noGrad(() =>
        tidy(() => {
          const ids = tensor(seen, { shape: [1, seen.length], dtype: 'int32', device });
          const last = model.forward(ids).slice(1, seen.length - 1, seen.length);
          return last.reshape([vocabSize]);
        }),
      );
      let values: ArrayLike<number>;
      try {
        values = await logits.data();
      } finally {
        logits.dispose();
      }
      const id = chooseToken(values, uniformAt(seed, i, STREAM), choice);
      tokens.push(id);
      yield id;
    }
  } finally {
    model.train(wasTraining);
  }
}
