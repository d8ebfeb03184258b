import { mkdir, open, readFile, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

import { EinlinearError } from '../errors';
import { ioError } from './ioError';
import { CHARACTERS, CHARACTER_COUNT } from './vocabulary';

/** Element type of a token file, little-endian. */
export type TokenDType = 'uint8' | 'uint16';

/** Parts of a data set. */
export type Split = 'train' | 'val';

/** Largest vocabulary a token file can hold. */
export const MAX_VOCABULARY = 65536;

const MetaSchema = z.object({
  vocabSize: z.int().min(1).max(MAX_VOCABULARY),
  dtype: z.enum(['uint8', 'uint16']),
  /** Symbol of every id, where ids are characters. */
  symbols: z.string().optional(),
  source: z.string().optional(),
  documents: z.record(z.string(), z.int()).optional(),
});

/** What `meta.json` says about the token files beside it. */
export type TokenMeta = z.infer<typeof MetaSchema>;

/** Bytes of one token. */
export function tokenBytes(dtype: TokenDType): number {
  return dtype === 'uint8' ? 1 : 2;
}

/** The narrowest type that holds every id of a vocabulary. */
export function tokenDType(vocabSize: number): TokenDType {
  if (!Number.isSafeInteger(vocabSize) || vocabSize < 1 || vocabSize > MAX_VOCABULARY) {
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected vocabSize to be from 1 to ${MAX_VOCABULARY}, got ${vocabSize}`,
      { vocabSize },
    );
  }
  return vocabSize <= 256 ? 'uint8' : 'uint16';
}

/** A file of token ids in the nanoGPT format: nothing but the ids. Only the ranges asked for are read. */
export class TokenFile {
  private constructor(
    readonly path: string,
    readonly dtype: TokenDType,
    readonly vocabSize: number,
    /** Number of tokens. */
    readonly length: number,
    private readonly file: FileHandle,
  ) {}

  /**
   * Opens a file for reading.
   *
   * @throws EinlinearError `IO`, `INVALID_FILE` where its size is no whole number of tokens
   */
  static async open(path: string, dtype: TokenDType, vocabSize: number): Promise<TokenFile> {
    try {
      const file = await open(path, 'r');
      const { size } = await file.stat();
      if (size % tokenBytes(dtype) !== 0) {
        await file.close();
        throw new EinlinearError(
          'INVALID_FILE',
          `Expected ${path} to hold ${dtype} tokens of ${tokenBytes(dtype)} bytes, got ${size} bytes`,
          { path, size, dtype },
        );
      }
      return new TokenFile(path, dtype, vocabSize, size / tokenBytes(dtype), file);
    } catch (error) {
      throw ioError('open', path, error);
    }
  }

  /**
   * Reads tokens `start` to `start + target.length` into `target`.
   *
   * @throws EinlinearError `OUT_OF_RANGE` beyond the end or for an id outside the vocabulary, `IO`
   */
  async read(start: number, target: Int32Array): Promise<void> {
    if (start < 0 || start + target.length > this.length) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected a range within the ${this.length} tokens of ${this.path}, got ${start} to ${start + target.length}`,
        { path: this.path, start, length: this.length },
      );
    }
    const width = tokenBytes(this.dtype);
    const bytes = new Uint8Array(target.length * width);
    try {
      for (let done = 0; done < bytes.length;) {
        const { bytesRead } = await this.file.read(
          bytes,
          done,
          bytes.length - done,
          start * width + done,
        );
        if (bytesRead === 0) throw new Error('the file shrank while it was read');
        done += bytesRead;
      }
    } catch (error) {
      throw ioError('read', this.path, error);
    }
    const tokens = width === 1 ? bytes : new Uint16Array(bytes.buffer);
    for (let i = 0; i < target.length; i++) {
      const id = tokens[i];
      if (id >= this.vocabSize) {
        throw new EinlinearError(
          'OUT_OF_RANGE',
          `Expected the tokens of ${this.path} to be below the vocabulary size ${this.vocabSize}, got ${id} at token ${start + i}`,
          { path: this.path, id, position: start + i, vocabSize: this.vocabSize },
        );
      }
      target[i] = id;
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/** Path of the token file of one part of a data set. */
export function tokenPath(folder: string, split: Split): string {
  return join(folder, `${split}.bin`);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    (status) => status.isFile(),
    () => false,
  );
}

/**
 * Whether a folder holds a pair of token files.
 *
 * @throws EinlinearError `NO_DATA` where one of the two is missing
 */
export async function hasTokenFiles(folder: string): Promise<boolean> {
  const train = await exists(tokenPath(folder, 'train'));
  const val = await exists(tokenPath(folder, 'val'));
  if (train !== val) {
    const [there, missing] = train ? ['train.bin', 'val.bin'] : ['val.bin', 'train.bin'];
    throw new EinlinearError(
      'NO_DATA',
      `Expected ${missing} beside ${there} in ${folder}, found none`,
      { folder, missing },
    );
  }
  return train;
}

/** Bytes looked at to tell what a token file without meta.json holds. */
const SAMPLE_BYTES = 1 << 24;
/** Vocabulary of GPT-2's byte-pair encoding, padded as nanoGPT does. */
const BPE_VOCABULARY = 50304;

async function deduceMeta(folder: string): Promise<TokenMeta> {
  let zeroHighBytes = true;
  let characters = true;
  let largest = 0;
  for (const split of ['train', 'val'] as const) {
    const file = await open(tokenPath(folder, split), 'r');
    try {
      const sample = new Uint8Array(SAMPLE_BYTES);
      const { bytesRead } = await file.read(sample, 0, SAMPLE_BYTES, 0);
      if ((await file.stat()).size % 2 !== 0) zeroHighBytes = false;
      for (let i = 0; i < bytesRead; i += 2) {
        const low = sample[i];
        const high = i + 1 < bytesRead ? sample[i + 1] : 0;
        zeroHighBytes &&= high === 0;
        characters &&= low < CHARACTER_COUNT && high < CHARACTER_COUNT;
        largest = Math.max(largest, high * 256 + low);
      }
    } finally {
      await file.close();
    }
  }
  if (zeroHighBytes) return { vocabSize: largest + 1, dtype: 'uint16' };
  if (characters) return { vocabSize: CHARACTER_COUNT, dtype: 'uint8', symbols: CHARACTERS };
  return { vocabSize: largest < BPE_VOCABULARY ? BPE_VOCABULARY : MAX_VOCABULARY, dtype: 'uint16' };
}

/**
 * Reads the `meta.json` of a folder of token files. Where there is none (files made for nanoGPT), what the files hold is
 * told from their first 16 MB: uint16 ids below 256 if every other byte is zero, characters if every byte is below 96,
 * else byte-pair ids in a vocabulary of 50,304.
 *
 * @throws EinlinearError `INVALID_FILE` for a meta.json that does not fit, `IO`
 */
export async function readTokenMeta(folder: string): Promise<TokenMeta> {
  const path = join(folder, 'meta.json');
  try {
    if (!(await exists(path))) return await deduceMeta(folder);
    const text = await readFile(path, 'utf8');
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch (error) {
      throw new EinlinearError('INVALID_FILE', `${path} is not JSON: ${(error as Error).message}`, {
        path,
      });
    }
    const result = MetaSchema.safeParse(parsed);
    if (!result.success) {
      throw new EinlinearError('INVALID_FILE', `${path}: ${z.prettifyError(result.error)}`, {
        path,
      });
    }
    const meta = result.data;
    if (meta.dtype === 'uint8' && meta.vocabSize > 256) {
      throw new EinlinearError(
        'INVALID_FILE',
        `${path}: expected a vocabulary of at most 256 with dtype uint8, got ${meta.vocabSize}`,
        { path, vocabSize: meta.vocabSize },
      );
    }
    return meta;
  } catch (error) {
    throw ioError('read', path, error);
  }
}

/** The two parts of a data set, open for reading. */
export interface TokenData {
  folder: string;
  meta: TokenMeta;
  train: TokenFile;
  val: TokenFile;
  close(): Promise<void>;
}

/**
 * Opens `train.bin` and `val.bin` of a folder.
 *
 * @throws EinlinearError `IO`, `INVALID_FILE`
 */
export async function openTokenData(folder: string): Promise<TokenData> {
  const meta = await readTokenMeta(folder);
  const train = await TokenFile.open(tokenPath(folder, 'train'), meta.dtype, meta.vocabSize);
  try {
    const val = await TokenFile.open(tokenPath(folder, 'val'), meta.dtype, meta.vocabSize);
    return {
      folder,
      meta,
      train,
      val,
      close: async () => {
        await train.close();
        await val.close();
      },
    };
  } catch (error) {
    await train.close();
    throw error;
  }
}

/** Appends ids to a token file that is being made. */
export class TokenWriter {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /** Number of tokens written. */
  length = 0;

  static async create(path: string): Promise<TokenWriter> {
    try {
      return new TokenWriter(path, await open(path, 'w'));
    } catch (error) {
      throw ioError('create', path, error);
    }
  }

  /** Appends ids, as `Uint8Array` or `Uint16Array` according to the file's dtype. */
  async write(ids: Uint8Array | Uint16Array): Promise<void> {
    const bytes = new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);
    try {
      await this.file.appendFile(bytes);
    } catch (error) {
      throw ioError('write', this.path, error);
    }
    this.length += ids.length;
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/** Makes a folder and its parents. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw ioError('create folder', folder, error);
  }
}
