import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';

import { ioError } from '../data/ioError';
import { EinlinearError } from '../errors';
import { writeAtomically } from './atomicWrite';

/** Element types of the format. `F16` and `BF16` come as their raw bits, `BOOL` as bytes. */
export type SafetensorsDType =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U64'
  | 'U32'
  | 'U16'
  | 'U8'
  | 'BOOL';

/** The typed array that holds the elements of a tensor. */
export type SafetensorsData =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** One tensor of a file: `data` holds the product of `shape` elements in row-major order. */
export interface SafetensorsTensor {
  dtype: SafetensorsDType;
  shape: readonly number[];
  data: SafetensorsData;
}

/** A whole file. The order of `tensors` is that of their bytes. */
export interface SafetensorsFile {
  tensors: Map<string, SafetensorsTensor>;
  metadata: Record<string, string>;
}

interface Storage {
  bytes: number;
  from(buffer: ArrayBuffer): SafetensorsData;
}

const STORAGE: Readonly<Record<SafetensorsDType, Storage>> = {
  F64: { bytes: 8, from: (buffer) => new Float64Array(buffer) },
  F32: { bytes: 4, from: (buffer) => new Float32Array(buffer) },
  F16: { bytes: 2, from: (buffer) => new Uint16Array(buffer) },
  BF16: { bytes: 2, from: (buffer) => new Uint16Array(buffer) },
  I64: { bytes: 8, from: (buffer) => new BigInt64Array(buffer) },
  I32: { bytes: 4, from: (buffer) => new Int32Array(buffer) },
  I16: { bytes: 2, from: (buffer) => new Int16Array(buffer) },
  I8: { bytes: 1, from: (buffer) => new Int8Array(buffer) },
  U64: { bytes: 8, from: (buffer) => new BigUint64Array(buffer) },
  U32: { bytes: 4, from: (buffer) => new Uint32Array(buffer) },
  U16: { bytes: 2, from: (buffer) => new Uint16Array(buffer) },
  U8: { bytes: 1, from: (buffer) => new Uint8Array(buffer) },
  BOOL: { bytes: 1, from: (buffer) => new Uint8Array(buffer) },
};

/** The format's own limit: a longer header is an attack, not a file. */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;

/** Where one tensor lies, relative to the end of the header. */
export interface SafetensorsEntry {
  name: string;
  dtype: SafetensorsDType;
  shape: readonly number[];
  begin: number;
  end: number;
}

/** What the header of a file says, checked. */
export interface SafetensorsHeader {
  entries: SafetensorsEntry[];
  metadata: Record<string, string>;
  /** Offset of the first byte of data in the file. */
  dataOffset: number;
}

function invalid(
  path: string,
  message: string,
  details: Record<string, unknown> = {},
): EinlinearError {
  return new EinlinearError('INVALID_FILE', `${path} is not a valid safetensors file: ${message}`, {
    path,
    ...details,
  });
}

/** First key that appears twice in one object of a valid JSON text, which `JSON.parse` lets pass. */
function duplicateKey(json: string): string | undefined {
  const objects: Set<string>[] = [];
  for (let i = 0; i < json.length; i++) {
    const symbol = json[i];
    if (symbol === '{') objects.push(new Set());
    else if (symbol === '}') objects.pop();
    else if (symbol === '"') {
      const start = i++;
      while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1;
      let next = i + 1;
      while (/\s/.test(json[next] ?? '')) next++;
      if (json[next] !== ':') continue;
      const key = JSON.parse(json.slice(start, i + 1)) as string;
      const keys = objects[objects.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function parseMetadata(path: string, value: unknown): Record<string, string> {
  if (!isObject(value)) throw invalid(path, 'expected __metadata__ to be an object');
  const metadata: Record<string, string> = {};
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw invalid(
        path,
        `expected __metadata__.${key} to be a string, got ${JSON.stringify(text)}`,
      );
    }
    metadata[key] = text;
  }
  return metadata;
}

function parseEntry(
  path: string,
  name: string,
  value: unknown,
  dataBytes: number,
): SafetensorsEntry {
  const fail = (message: string) =>
    invalid(path, `tensor ${JSON.stringify(name)}: ${message}`, { name });
  if (!isObject(value)) throw fail(`expected an object, got ${JSON.stringify(value)}`);
  const { dtype, shape, data_offsets: offsets, ...rest } = value;
  const unknown = Object.keys(rest);
  if (unknown.length > 0) throw fail(`unknown key ${unknown.join(', ')}`);
  if (typeof dtype !== 'string' || !Object.hasOwn(STORAGE, dtype)) {
    throw fail(
      `expected dtype to be one of ${Object.keys(STORAGE).join(', ')}, got ${JSON.stringify(dtype)}`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw fail(`expected shape to be a list of sizes, got ${JSON.stringify(shape)}`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw fail(`expected data_offsets to be [begin, end], got ${JSON.stringify(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    throw fail(
      `expected data_offsets within the ${dataBytes} bytes of data, got [${begin}, ${end}]`,
    );
  }
  const known = dtype as SafetensorsDType;
  const bytes = shape.reduce((product, size) => product * size, STORAGE[known].bytes);
  if (bytes !== end - begin) {
    throw fail(
      `${known} of shape [${shape.join(', ')}] takes ${bytes} bytes, but data_offsets span ${end - begin}`,
    );
  }
  return { name, dtype: known, shape: shape, begin, end };
}

function checkLayout(path: string, entries: SafetensorsEntry[], dataBytes: number): void {
  let offset = 0;
  let previous: string | undefined;
  for (const { name, begin, end } of entries) {
    if (begin < offset) {
      throw invalid(
        path,
        `tensors ${JSON.stringify(previous)} and ${JSON.stringify(name)} overlap at byte ${begin}`,
      );
    }
    if (begin > offset) {
      throw invalid(
        path,
        `bytes ${offset} to ${begin} before tensor ${JSON.stringify(name)} belong to no tensor`,
      );
    }
    offset = end;
    previous = name;
  }
  if (offset !== dataBytes) {
    throw invalid(
      path,
      `the header describes ${offset} bytes of data, but the file holds ${dataBytes}`,
      {
        expected: offset,
        got: dataBytes,
      },
    );
  }
}

function headerBytes(path: string, length: Uint8Array, fileBytes: number): number {
  if (fileBytes < LENGTH_BYTES) {
    throw invalid(path, `expected at least ${LENGTH_BYTES} bytes, got ${fileBytes}`);
  }
  const declared = Buffer.from(length.buffer, length.byteOffset, LENGTH_BYTES).readBigUInt64LE();
  if (declared > BigInt(Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES))) {
    throw invalid(
      path,
      `the header is declared to be ${declared} bytes, but the file has ${fileBytes - LENGTH_BYTES} after its first ` +
        `${LENGTH_BYTES} (and a header may have ${MAX_HEADER_BYTES})`,
      { declared, fileBytes },
    );
  }
  return Number(declared);
}

function parseHeader(path: string, bytes: Uint8Array, fileBytes: number): SafetensorsHeader {
  let json: string;
  let parsed: unknown;
  try {
    json = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    parsed = JSON.parse(json);
  } catch (error) {
    throw invalid(
      path,
      `its header of ${bytes.length} bytes is not JSON (${(error as Error).message})`,
    );
  }
  if (!isObject(parsed)) throw invalid(path, 'expected its header to be a JSON object');
  const duplicate = duplicateKey(json);
  if (duplicate !== undefined)
    throw invalid(path, `the key ${JSON.stringify(duplicate)} appears twice`);

  const dataOffset = LENGTH_BYTES + bytes.length;
  const dataBytes = fileBytes - dataOffset;
  let metadata: Record<string, string> = {};
  const entries: SafetensorsEntry[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (name === '__metadata__') metadata = parseMetadata(path, value);
    else entries.push(parseEntry(path, name, value, dataBytes));
  }
  entries.sort((left, right) => left.begin - right.begin || left.end - right.end);
  checkLayout(path, entries, dataBytes);
  return { entries, metadata, dataOffset };
}

/** A part of the file that the parser asks its driver for. */
interface Request {
  bytes: number;
  position: number;
}

/** Reads a file of `fileBytes` bytes; the caller answers each request, with or without waiting. */
function* parseFile(
  path: string,
  fileBytes: number,
  withData: boolean,
): Generator<
  Request,
  { header: SafetensorsHeader; tensors: Map<string, SafetensorsTensor> },
  ArrayBuffer
> {
  const length = new Uint8Array(yield { bytes: Math.min(LENGTH_BYTES, fileBytes), position: 0 });
  const bytes = headerBytes(path, length, fileBytes);
  const json = new Uint8Array(yield { bytes, position: LENGTH_BYTES });
  const header = parseHeader(path, json, fileBytes);
  const tensors = new Map<string, SafetensorsTensor>();
  for (const { name, dtype, shape, begin, end } of withData ? header.entries : []) {
    const buffer = yield { bytes: end - begin, position: header.dataOffset + begin };
    tensors.set(name, { dtype, shape, data: STORAGE[dtype].from(buffer) });
  }
  return { header, tensors };
}

function truncated(path: string, expected: number, got: number): EinlinearError {
  return invalid(path, `it shrank while it was read (expected ${expected} more bytes, got ${got})`);
}

async function readFile(path: string, withData: boolean) {
  try {
    const file = await open(path, 'r');
    try {
      const parser = parseFile(path, (await file.stat()).size, withData);
      for (let step = parser.next(); ;) {
        if (step.done) return step.value;
        const { bytes, position } = step.value;
        const target = new Uint8Array(bytes);
        for (let done = 0; done < bytes;) {
          const { bytesRead } = await file.read(target, done, bytes - done, position + done);
          if (bytesRead === 0) throw truncated(path, bytes, done);
          done += bytesRead;
        }
        step = parser.next(target.buffer);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw ioError('read', path, error);
  }
}

/**
 * Reads and checks the header alone: what tensors a file holds, without their data.
 *
 * @throws EinlinearError `INVALID_FILE`, `IO`
 */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  return (await readFile(path, false)).header;
}

/**
 * Reads a safetensors file.
 *
 * Everything the header claims is checked against the file before any data is read: header length, JSON without
 * duplicate keys, dtypes, shapes, sizes, and offsets that cover the data without holes or overlaps.
 *
 * @throws EinlinearError `INVALID_FILE` with what was found and expected, `IO` where the file cannot be read
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  const { header, tensors } = await readFile(path, true);
  return { tensors, metadata: header.metadata };
}

/** The blocking form of {@link readSafetensors}. */
export function readSafetensorsSync(path: string): SafetensorsFile {
  try {
    const file = openSync(path, 'r');
    try {
      const parser = parseFile(path, fstatSync(file).size, true);
      for (let step = parser.next(); ;) {
        if (step.done) return { tensors: step.value.tensors, metadata: step.value.header.metadata };
        const { bytes, position } = step.value;
        const target = new Uint8Array(bytes);
        for (let done = 0; done < bytes;) {
          const count = readSync(file, target, done, bytes - done, position + done);
          if (count === 0) throw truncated(path, bytes, done);
          done += count;
        }
        step = parser.next(target.buffer);
      }
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw ioError('read', path, error);
  }
}

function checkTensor(path: string, name: string, { dtype, shape, data }: SafetensorsTensor): void {
  const expected = shape.reduce((product, size) => product * size, 1);
  if (name === '__metadata__' || !shape.every(isSize) || data.length !== expected) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected tensor ${JSON.stringify(name)} of shape [${shape.join(', ')}] to hold ${expected} elements and not to ` +
        `be named __metadata__, got ${data.length} elements`,
      { path, name, shape },
    );
  }
  if (data.BYTES_PER_ELEMENT !== STORAGE[dtype].bytes) {
    throw new EinlinearError(
      'DTYPE_MISMATCH',
      `Expected tensor ${JSON.stringify(name)} of dtype ${dtype} to have ${STORAGE[dtype].bytes} bytes an element, ` +
        `got ${data.BYTES_PER_ELEMENT}`,
      { path, name, dtype },
    );
  }
}

/**
 * Writes a safetensors file atomically: `path` holds its old content until the new one is safely on the disk.
 *
 * Tensors of wider elements come first so that all data is aligned; otherwise the order given is kept.
 *
 * @throws EinlinearError `INVALID_ARGUMENT`, `DTYPE_MISMATCH`, or `IO` (a full disk) with the old file intact
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const [name, tensor] of tensors) checkTensor(path, name, tensor);
  const ordered = [...tensors].sort(
    ([, left], [, right]) => right.data.BYTES_PER_ELEMENT - left.data.BYTES_PER_ELEMENT,
  );
  // A null prototype, so that a tensor named __proto__ is a tensor like any other.
  const header = Object.create(null) as Record<string, unknown>;
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const [name, { dtype, shape, data }] of ordered) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' ');
  json.copy(padded);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(padded.length));
  const chunks = ordered.map(
    ([, { data }]) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  );
  await writeAtomically(path, [length, padded, ...chunks]);
}
