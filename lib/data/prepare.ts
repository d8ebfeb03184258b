import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { EinlinearError } from '../errors';
import { datasetFolder, isDatasetName } from './datasets';
import { listTextFiles, readDocuments } from './documents';
import { ioError } from './ioError';
import { makeFolder, tokenPath, TokenWriter, type Split, type TokenMeta } from './tokenFile';
import { CHARACTERS, CHARACTER_COUNT } from './vocabulary';

/** Stretches the text is cut into so that the validation part samples all of it. */
const STRETCHES = 10;

export interface PrepareOptions {
  /** Share of the text held out for validation, default 0.1. */
  validationFraction?: number;
  /** Tokens that a model will see: a part shorter than them and the one to predict is refused. */
  context?: number;
  signal?: AbortSignal;
}

/** What was made of a text. */
export interface PrepareResult {
  folder: string;
  meta: TokenMeta;
  /** Tokens of each part. */
  tokens: Record<Split, number>;
  /** Documents of each part, and those dropped for a symbol outside the vocabulary. */
  documents: Record<Split | 'dropped', number>;
}

interface Census {
  tokens: number;
  documents: number;
  dropped: number;
}

async function* allDocuments(files: readonly string[], signal?: AbortSignal) {
  for (const file of files) {
    for await (const batch of readDocuments(file)) {
      if (signal?.aborted) throw new EinlinearError('ABORTED', 'Preparing the text was aborted');
      yield batch;
    }
  }
}

async function count(source: string, files: readonly string[], signal?: AbortSignal) {
  const census: Census = { tokens: 0, documents: 0, dropped: 0 };
  let visible = 0;
  for await (const { kept, dropped } of allDocuments(files, signal)) {
    census.dropped += dropped;
    census.documents += kept.length;
    for (const ids of kept) {
      census.tokens += ids.length;
      visible += ids.length - 1;
    }
  }
  if (visible === 0) {
    throw new EinlinearError(
      'NO_DATA',
      `${source} has no usable character: expected lines of printable ASCII (space to tilde), found ` +
        (census.dropped > 0
          ? `${census.dropped} lines, each with another symbol`
          : 'nothing but empty lines'),
      { source, dropped: census.dropped },
    );
  }
  return census;
}

/**
 * Which documents are held out: whole documents at the end of each of ten equal stretches of the text, so that both
 * parts are coherent and neither is only the oldest or the newest. The rule looks at where a document starts.
 */
function isHeldOut(start: number, tokens: number, fraction: number): boolean {
  const stretch = tokens / STRETCHES;
  return (start % stretch) / stretch >= 1 - fraction;
}

/**
 * Turns text into `train.bin`, `val.bin` and `meta.json`: character ids, one byte each. The text is split by
 * document. Where that leaves a part empty (a handful of documents), the last document or documents are cut inside.
 *
 * @param source a text file, a folder of text files, or the name of a data set
 * @param folder where the files go; made where it is missing
 * @throws EinlinearError `NO_DATA` for a text without usable characters, `IO`, `INVALID_ARGUMENT`, `ABORTED`
 */
export async function prepareText(
  source: string,
  folder: string,
  { validationFraction = 0.1, context = 0, signal }: PrepareOptions = {},
): Promise<PrepareResult> {
  if (!(validationFraction > 0 && validationFraction < 1)) {
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected validationFraction to be between 0 and 1, got ${validationFraction}`,
      { validationFraction },
    );
  }
  const files = await listTextFiles(isDatasetName(source) ? datasetFolder(source) : source);
  const census = await count(source, files, signal);

  let heldOut = 0;
  let heldOutTokens = 0;
  let position = 0;
  for await (const { kept } of allDocuments(files, signal)) {
    for (const ids of kept) {
      if (isHeldOut(position, census.tokens, validationFraction)) {
        heldOut++;
        heldOutTokens += ids.length;
      }
      position += ids.length;
    }
  }
  const byDocument = heldOut > 0 && heldOut < census.documents;
  const cut = Math.min(
    census.tokens - 1,
    Math.max(1, Math.round(census.tokens * (1 - validationFraction))),
  );
  const val = byDocument ? heldOutTokens : census.tokens - cut;
  for (const [split, length] of Object.entries({ train: census.tokens - val, val })) {
    if (length > context) continue;
    throw new EinlinearError(
      'NO_DATA',
      `Expected the ${split} part of ${source} to hold at least context + 1 = ${context + 1} tokens, got ${length}`,
      { source, split, context, length },
    );
  }

  await makeFolder(folder);
  const writers: Record<Split, TokenWriter> = {
    train: await TokenWriter.create(tokenPath(folder, 'train')),
    val: await TokenWriter.create(tokenPath(folder, 'val')),
  };
  const documents = { train: 0, val: 0, dropped: census.dropped };
  try {
    position = 0;
    for await (const { kept } of allDocuments(files, signal)) {
      const parts: Record<Split, Uint8Array[]> = { train: [], val: [] };
      for (const ids of kept) {
        const start = position;
        position += ids.length;
        if (byDocument) {
          const split = isHeldOut(start, census.tokens, validationFraction) ? 'val' : 'train';
          parts[split].push(ids);
          documents[split]++;
        } else {
          const inside = Math.min(ids.length, Math.max(0, cut - start));
          parts.train.push(ids.subarray(0, inside));
          parts.val.push(ids.subarray(inside));
          documents[inside > 0 ? 'train' : 'val']++;
        }
      }
      await writers.train.write(Buffer.concat(parts.train));
      await writers.val.write(Buffer.concat(parts.val));
    }
    await writers.train.close();
    await writers.val.close();
  } catch (error) {
    for (const split of ['train', 'val'] as const) {
      await writers[split].close();
      await rm(writers[split].path, { force: true });
    }
    throw error;
  }

  const meta: TokenMeta = {
    vocabSize: CHARACTER_COUNT,
    dtype: 'uint8',
    symbols: CHARACTERS,
    source,
    documents,
  };
  const metaPath = join(folder, 'meta.json');
  try {
    await writeFile(metaPath, `${JSON.stringify(meta, null, 2)}\n`);
  } catch (error) {
    throw ioError('write', metaPath, error);
  }
  return {
    folder,
    meta,
    tokens: { train: writers.train.length, val: writers.val.length },
    documents,
  };
}
