import { mkdirSync, writeFileSync } from 'node:fs';

import { openTokenData, readTokenMeta, tokenDType, TokenFile } from '../../lib/data';
import { temporaryFolder } from '../support/temporaryFolder';

const path = temporaryFolder();

function folderWith(name: string, files: Record<string, string | Uint8Array>): string {
  mkdirSync(path(name));
  for (const [file, content] of Object.entries(files)) writeFileSync(path(name, file), content);
  return path(name);
}

const bytes = (tokens: Uint8Array | Uint16Array) =>
  new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);

test('the dtype follows the vocabulary', () => {
  expect([1, 96, 256, 257, 50304, 65536].map(tokenDType)).toEqual([
    'uint8',
    'uint8',
    'uint8',
    'uint16',
    'uint16',
    'uint16',
  ]);
  for (const size of [0, 65537, 1.5]) {
    expect(() => tokenDType(size)).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
  }
});

test('files of nanoGPT, without meta.json, are told apart', async () => {
  const characters = bytes(Uint8Array.from([1, 2, 95, 40, 3, 0]));
  const wide = bytes(Uint16Array.from([1, 2, 64, 0]));
  const pairs = bytes(Uint16Array.from([50256, 11, 30000]));
  const cases: [string, Uint8Array, object][] = [
    ['characters', characters, { vocabSize: 96, dtype: 'uint8' }],
    ['wide characters', wide, { vocabSize: 65, dtype: 'uint16' }],
    ['byte pairs', pairs, { vocabSize: 50304, dtype: 'uint16' }],
  ];
  for (const [name, content, expected] of cases) {
    const folder = folderWith(name, { 'train.bin': content, 'val.bin': content });
    expect(await readTokenMeta(folder)).toMatchObject(expected);
  }
});

test('ranges are read exactly, in both dtypes', async () => {
  const ids = Array.from({ length: 1000 }, (_, i) => (i * 37) % 50000);
  writeFileSync(path('wide.bin'), bytes(Uint16Array.from(ids)));
  const file = await TokenFile.open(path('wide.bin'), 'uint16', 50000);
  try {
    const part = new Int32Array(10);
    await file.read(990, part);
    expect(Array.from(part)).toEqual(ids.slice(990));
    await expect(file.read(991, part)).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
    await expect(file.read(-1, part)).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
  } finally {
    await file.close();
  }
});

test('ids outside the vocabulary are named with their place', async () => {
  writeFileSync(path('bad.bin'), Uint8Array.from([1, 2, 200, 3]));
  const file = await TokenFile.open(path('bad.bin'), 'uint8', 96);
  try {
    await expect(file.read(1, new Int32Array(3))).rejects.toMatchObject({
      code: 'OUT_OF_RANGE',
      details: { id: 200, position: 2, vocabSize: 96 },
    });
  } finally {
    await file.close();
  }
});

test('odd files and lying meta.json are refused', async () => {
  const token = Uint8Array.from([1, 2, 3]);
  const pair = { 'train.bin': token, 'val.bin': token };
  const meta = (value: unknown) => JSON.stringify(value);
  const cases: [string, Record<string, string | Uint8Array>][] = [
    ['odd size', { ...pair, 'meta.json': meta({ vocabSize: 50304, dtype: 'uint16' }) }],
    ['no JSON', { ...pair, 'meta.json': '{' }],
    ['no vocabulary', { ...pair, 'meta.json': meta({ dtype: 'uint8' }) }],
    ['unknown dtype', { ...pair, 'meta.json': meta({ vocabSize: 96, dtype: 'int8' }) }],
    ['too many for a byte', { ...pair, 'meta.json': meta({ vocabSize: 257, dtype: 'uint8' }) }],
  ];
  for (const [name, files] of cases) {
    await expect(openTokenData(folderWith(name, files))).rejects.toMatchObject({
      code: 'INVALID_FILE',
    });
  }
  await expect(openTokenData(path('missing'))).rejects.toMatchObject({ code: 'IO' });
});
