import fc from 'fast-check';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';

import {
  readSafetensors,
  readSafetensorsHeader,
  readSafetensorsSync,
  writeSafetensors,
  type SafetensorsTensor,
} from '../../lib/train';
import { temporaryFolder } from '../support/temporaryFolder';

const path = temporaryFolder();
const file = path('file.safetensors');

const TENSORS = new Map<string, SafetensorsTensor>([
  ['bytes', { dtype: 'U8', shape: [3], data: Uint8Array.from([1, 2, 255]) }],
  ['weight', { dtype: 'F32', shape: [2, 2], data: Float32Array.from([1, -0.5, NaN, Infinity]) }],
  ['ids', { dtype: 'I32', shape: [2], data: Int32Array.from([-5, 2 ** 30]) }],
  ['scalar', { dtype: 'F64', shape: [], data: Float64Array.from([Math.PI]) }],
  ['big', { dtype: 'I64', shape: [1], data: BigInt64Array.from([-(2n ** 60n)]) }],
  ['half', { dtype: 'BF16', shape: [1, 1], data: Uint16Array.from([0x3f80]) }],
  ['empty', { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) }],
  ['__proto__', { dtype: 'F32', shape: [1], data: Float32Array.from([7]) }],
]);

/** A file whose header is `header` (text, or what becomes its JSON), followed by `dataBytes` zeros. */
function craft(header: unknown, dataBytes: number, declared?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header), 'utf8');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(declared ?? BigInt(json.length));
  writeFileSync(file, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
  return file;
}

const F32 = (shape: unknown, begin: unknown, end: unknown) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

test('what is written is read, by both forms', async () => {
  await writeSafetensors(file, TENSORS, { note: 'caf\u00e9 "quoted"', step: '12' });
  for (const read of [await readSafetensors(file), readSafetensorsSync(file)]) {
    expect(read.metadata).toEqual({ note: 'caf\u00e9 "quoted"', step: '12' });
    expect(read.tensors.size).toBe(TENSORS.size);
    for (const [name, { dtype, shape, data }] of TENSORS) {
      const tensor = read.tensors.get(name)!;
      expect([tensor.dtype, tensor.shape]).toEqual([dtype, shape]);
      expect(Array.from(tensor.data as Float32Array)).toEqual(Array.from(data as Float32Array));
    }
  }
  const header = await readSafetensorsHeader(file);
  expect(header.dataOffset % 8).toBe(0);
  expect(header.entries.map(({ name }) => name).sort()).toEqual([...TENSORS.keys()].sort());
});

test('views into larger buffers are written, not their buffers', async () => {
  const data = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
  await writeSafetensors(file, new Map([['view', { dtype: 'F32', shape: [2], data }]]));
  expect(
    Array.from((await readSafetensors(file)).tensors.get('view')!.data as Float32Array),
  ).toEqual([1, 2]);
});

test('writing leaves no temporary files and replaces the old file', async () => {
  const target = path('replaced', '..', 'replaced.safetensors');
  await writeSafetensors(target, new Map(), { version: 'old' });
  await writeSafetensors(target, new Map(), { version: 'new' });
  expect((await readSafetensors(target)).metadata).toEqual({ version: 'new' });
  expect(readdirSync(path()).filter((name) => name.includes('.tmp'))).toEqual([]);
});

test('tensors that contradict themselves are not written', async () => {
  const cases: [string, SafetensorsTensor, string][] = [
    ['x', { dtype: 'F32', shape: [3], data: new Float32Array(2) }, 'INVALID_ARGUMENT'],
    ['x', { dtype: 'F32', shape: [-1], data: new Float32Array(1) }, 'INVALID_ARGUMENT'],
    ['__metadata__', { dtype: 'F32', shape: [1], data: new Float32Array(1) }, 'INVALID_ARGUMENT'],
    ['x', { dtype: 'F32', shape: [2], data: new Float64Array(2) }, 'DTYPE_MISMATCH'],
  ];
  for (const [name, tensor, code] of cases) {
    await expect(writeSafetensors(file, new Map([[name, tensor]]))).rejects.toMatchObject({ code });
  }
});

test.each<[string, () => string]>([
  ['declared header longer than the file', () => craft('{}', 0, 3n)],
  ['declared header of 2^63 bytes', () => craft('{}', 0, 2n ** 63n)],
  ['header that is no JSON', () => craft('{"a":', 4)],
  ['header that is no object', () => craft('[1]', 0)],
  ['header that is not UTF-8', () => craft('{}', 0, 2n) && corrupt(8, 0xff)],
  ['empty header', () => craft('', 0)],
  ['duplicate tensor', () => craft(`{"a":${a(0, 4)},"a":${a(4, 8)}}`, 8)],
  ['duplicate tensor, escaped', () => craft(`{"a":${a(0, 4)},"\\u0061":${a(4, 8)}}`, 8)],
  [
    'duplicate field',
    () => craft('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
  ],
  ['unknown dtype', () => craft({ a: { ...F32([1], 0, 4), dtype: 'F31' } }, 4)],
  ['dtype from the prototype', () => craft({ a: { ...F32([1], 0, 4), dtype: 'toString' } }, 4)],
  ['missing shape', () => craft({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4)],
  ['negative size', () => craft({ a: F32([-1], 0, 4) }, 4)],
  ['fractional size', () => craft({ a: F32([0.5], 0, 2) }, 2)],
  ['size beyond 2^53', () => craft({ a: F32([2 ** 60], 0, 4) }, 4)],
  ['sizes whose product overflows', () => craft({ a: F32([2 ** 52, 2 ** 52], 0, 4) }, 4)],
  ['shape larger than the span', () => craft({ a: F32([2], 0, 4) }, 4)],
  ['shape smaller than the span', () => craft({ a: F32([1], 0, 8) }, 8)],
  ['end before begin', () => craft({ a: F32([1], 4, 0) }, 4)],
  ['end beyond the data', () => craft({ a: F32([2], 0, 8) }, 4)],
  ['offsets that are no numbers', () => craft({ a: F32([1], '0', '4') }, 4)],
  ['overlap', () => craft({ a: F32([2], 0, 8), b: F32([1], 4, 8) }, 8)],
  ['hole', () => craft({ a: F32([1], 0, 4), b: F32([1], 8, 12) }, 12)],
  ['bytes after the last tensor', () => craft({ a: F32([1], 0, 4) }, 5)],
  ['data without tensors', () => craft({}, 4)],
  ['extra field', () => craft({ a: { ...F32([1], 0, 4), stride: 1 } }, 4)],
  ['metadata that is no text', () => craft({ __metadata__: { step: 1 } }, 0)],
  ['metadata that is no object', () => craft({ __metadata__: 'x' }, 0)],
])('refused: %s', async (_, make) => {
  const lying = make();
  await expect(readSafetensors(lying)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    message: expect.stringContaining(lying) as string,
  });
  expect(() => readSafetensorsSync(lying)).toThrow(
    expect.objectContaining({ code: 'INVALID_FILE' }),
  );
});

function a(begin: number, end: number): string {
  return JSON.stringify(F32([1], begin, end));
}

function corrupt(position: number, byte: number): string {
  const bytes = readFileSync(file);
  bytes[position] = byte;
  writeFileSync(file, bytes);
  return file;
}

test('a file cut anywhere is refused', async () => {
  await writeSafetensors(file, TENSORS, { step: '1' });
  for (let size = readFileSync(file).length - 1; size >= 0; size -= 7) {
    truncateSync(file, size);
    await expect(readSafetensors(file)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  }
});

test('a file with a changed header byte is refused or still consistent, never misread beyond its end', async () => {
  await writeSafetensors(file, TENSORS, { step: '1' });
  const original = readFileSync(file);
  const { dataOffset } = await readSafetensorsHeader(file);
  fc.assert(
    fc.property(fc.nat(dataOffset - 1), fc.nat(255), (position, byte) => {
      writeFileSync(file, original);
      corrupt(position, byte);
      try {
        for (const { shape, data } of readSafetensorsSync(file).tensors.values()) {
          expect(data.length).toBe(shape.reduce((product, size) => product * size, 1));
        }
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_FILE' });
      }
    }),
    { numRuns: 300 },
  );
});

test('a missing file is an IO error that names it', async () => {
  await expect(readSafetensors(path('missing'))).rejects.toMatchObject({
    code: 'IO',
    details: { systemCode: 'ENOENT' },
  });
  await expect(writeSafetensors(path('no', 'such', 'folder'), new Map())).rejects.toMatchObject({
    code: 'IO',
  });
});
