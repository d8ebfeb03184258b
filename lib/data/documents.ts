import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';

import { EinlinearError } from '../errors';
import { ioError } from './ioError';
import { ID_OF_BYTE, NEWLINE_ID } from './vocabulary';

/** Extensions of the files that count as text in a folder. */
export const TEXT_EXTENSIONS: readonly string[] = ['.txt', '.text', '.md'];

const CHUNK_BYTES = 1 << 20;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/**
 * The text files that a path stands for: itself, or those of a folder and its sub-folders in the order of their names.
 *
 * @throws EinlinearError `IO` where there is nothing at the path, `NO_DATA` for a folder without text files
 */
export async function listTextFiles(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const files: string[] = [];
    for (const name of await readdir(path, { recursive: true })) {
      if (!TEXT_EXTENSIONS.includes(extname(name))) continue;
      const file = join(path, name);
      if ((await stat(file)).isFile()) files.push(file);
    }
    if (files.length === 0) {
      throw new EinlinearError(
        'NO_DATA',
        `Expected text files (${TEXT_EXTENSIONS.join(', ')}) in ${path}, found none`,
        { path },
      );
    }
    return files.sort();
  } catch (error) {
    throw ioError('read', path, error);
  }
}

/** Ids of one document, its newline included, or null where it has a symbol outside the vocabulary. */
function encodeDocument(bytes: Uint8Array): Uint8Array | null {
  const end = bytes[bytes.length - 1] === CARRIAGE_RETURN ? bytes.length - 1 : bytes.length;
  const ids = new Uint8Array(end + 1);
  for (let i = 0; i < end; i++) {
    const id = ID_OF_BYTE[bytes[i]];
    if (id < 0) return null;
    ids[i] = id;
  }
  ids[end] = NEWLINE_ID;
  return ids;
}

/** Documents of one stretch of a file. */
export interface DocumentBatch {
  /** Ids of every document kept; each ends with a newline. */
  kept: Uint8Array[];
  /** Number of documents with a symbol outside the vocabulary. */
  dropped: number;
}

/**
 * The documents of a text file as character ids. A newline ends a document, and the end of the file the last one.
 * A document with any byte that is not printable ASCII is dropped, as in the paper; a carriage return before the newline and a
 * byte-order mark are not part of the text.
 *
 * @throws EinlinearError `IO`
 */
export async function* readDocuments(path: string): AsyncGenerator<DocumentBatch> {
  let rest: Uint8Array[] = [];
  let first = true;
  try {
    for await (const piece of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
      let chunk = piece as Uint8Array;
      if (first && BYTE_ORDER_MARK.every((byte, i) => chunk[i] === byte)) chunk = chunk.subarray(3);
      first = false;
      const batch: DocumentBatch = { kept: [], dropped: 0 };
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        rest.push(chunk.subarray(start, end));
        const ids = encodeDocument(rest.length === 1 ? rest[0] : Buffer.concat(rest));
        if (ids === null) batch.dropped++;
        else batch.kept.push(ids);
        rest = [];
        start = end + 1;
      }
      if (start < chunk.length) rest.push(chunk.subarray(start));
      yield batch;
    }
  } catch (error) {
    throw ioError('read', path, error);
  }
  const last = Buffer.concat(rest);
  if (last.length > 0) {
    const ids = encodeDocument(last);
    yield { kept: ids === null ? [] : [ids], dropped: ids === null ? 1 : 0 };
  }
}
