import { EinlinearError } from '../errors';
import { uniformAt } from './philox';
import type { TokenFile } from './tokenFile';

/** Tokens and, for each, the one that follows it. Both are [batch, context], row-major. */
export interface Batch {
  inputs: Int32Array;
  targets: Int32Array;
}

export interface BatchSize {
  /** Rows. */
  batch: number;
  /** Tokens of a row. */
  context: number;
}

/** All that decides the batches to come. */
export interface SamplerState {
  seed: number;
  /** Rows drawn so far. */
  counter: number;
}

/** Keeps the sampler's random numbers apart from others of the same seed. */
const STREAM = 0x64617461;

async function readRows(file: TokenFile, starts: number[], context: number): Promise<Batch> {
  const inputs = new Int32Array(starts.length * context);
  const targets = new Int32Array(starts.length * context);
  await Promise.all(
    starts.map(async (start, row) => {
      const tokens = new Int32Array(context + 1);
      await file.read(start, tokens);
      inputs.set(tokens.subarray(0, context), row * context);
      targets.set(tokens.subarray(1), row * context);
    }),
  );
  return { inputs, targets };
}

/**
 * Checks that a file holds rows of a size.
 *
 * @throws EinlinearError `NO_DATA` for a file shorter than a row and the token after it, `OUT_OF_RANGE`
 */
export function checkRows(file: TokenFile, { batch, context }: BatchSize): void {
  for (const [name, value] of Object.entries({ batch, context })) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected ${name} to be a positive integer, got ${value}`,
        { [name]: value },
      );
    }
  }
  if (file.length < context + 1) {
    throw new EinlinearError(
      'NO_DATA',
      `Expected ${file.path} to hold at least context + 1 = ${context + 1} tokens, got ${file.length}`,
      { path: file.path, context, length: file.length },
    );
  }
}

/**
 * Draws rows of a token file at random positions. Row n depends on the seed and n alone, so a sampler given a saved state
 * continues exactly.
 */
export class BatchSampler {
  private counter: number;
  private readonly seed: number;

  /** @throws EinlinearError `NO_DATA` for a file shorter than a row, `OUT_OF_RANGE` */
  constructor(
    private readonly file: TokenFile,
    private readonly size: BatchSize,
    state: SamplerState,
  ) {
    checkRows(file, size);
    this.seed = state.seed;
    this.counter = state.counter;
  }

  get state(): SamplerState {
    return { seed: this.seed, counter: this.counter };
  }

  /** The next batch. */
  async next(): Promise<Batch> {
    const choices = this.file.length - this.size.context;
    const starts = Array.from({ length: this.size.batch }, (_, row) =>
      Math.floor(uniformAt(this.seed, this.counter + row, STREAM) * choices),
    );
    this.counter += this.size.batch;
    return readRows(this.file, starts, this.size.context);
  }
}

/**
 * The fixed batches on which a model is evaluated: rows spread evenly over the file, no two overlapping, as many as
 * `batches` ask for or the file holds.
 *
 * @throws EinlinearError `NO_DATA` for a file shorter than a row, `OUT_OF_RANGE`
 */
export async function* evaluationBatches(
  file: TokenFile,
  { batch, context, batches }: BatchSize & { batches: number },
): AsyncGenerator<Batch> {
  checkRows(file, { batch, context });
  const available = Math.floor((file.length - 1) / context);
  const rows = Math.min(available, batches * batch);
  for (let first = 0; first < rows; first += batch) {
    const starts = Array.from(
      { length: Math.min(batch, rows - first) },
      (_, row) => Math.floor(((first + row) * available) / rows) * context,
    );
    yield readRows(file, starts, context);
  }
}
