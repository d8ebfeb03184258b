import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

import { decodeCharacters, datasetFolder, openTokenData, prepareText } from '../../lib/data';
import { prose } from '../support/prose';
import { temporaryFolder } from '../support/temporaryFolder';

const path = temporaryFolder();

function decoded(folder: string, split: 'train' | 'val'): string {
  return decodeCharacters(readFileSync(`${folder}/${split}.bin`));
}

/** Prepares a text and gives both parts back as text. */
async function prepared(name: string, text: string | Buffer, validationFraction?: number) {
  writeFileSync(path(`${name}.txt`), text);
  const result = await prepareText(
    path(`${name}.txt`),
    path(name),
    validationFraction === undefined ? {} : { validationFraction },
  );
  return { result, train: decoded(path(name), 'train'), val: decoded(path(name), 'val') };
}

test('a text is split by document, all of it and each document once', async () => {
  const text = prose(500);
  const { result, train, val } = await prepared('prose', text);
  const lines = text.split('\n');
  const kept = [...train.trimEnd().split('\n'), ...val.trimEnd().split('\n')];
  expect(kept.length).toBe(500);
  expect([...kept].sort()).toEqual([...lines].sort());
  expect(result.documents).toEqual({
    train: expect.any(Number),
    val: expect.any(Number),
    dropped: 0,
  });
  expect(result.tokens.train).toBe(train.length);
  expect(result.tokens.val / (result.tokens.train + result.tokens.val)).toBeCloseTo(0.1, 1);
  expect(JSON.parse(readFileSync(path('prose', 'meta.json'), 'utf8'))).toEqual(result.meta);
});

test('documents with other symbols are dropped; line ends and a byte-order mark are no symbols', async () => {
  const { result, train, val } = await prepared(
    'mixed',
    '\ufeffone\r\ntwo\tabs\nthr\u00e9e\nfour ~\n\nfive\u2019s\nsix',
  );
  expect((train + val).split('\n').sort()).toEqual(['', '', 'four ~', 'one', 'six']);
  expect(result.documents.dropped).toBe(3);
});

test('a document longer than a read is kept whole, one split in the middle of a symbol dropped whole', async () => {
  const long = 'x'.repeat(3_000_000);
  const { result, train, val } = await prepared(
    'long',
    `${long}\na${'\u00e9'.repeat(1_000_000)}\nend`,
  );
  expect(train + val).toBe(`${long}\nend\n`);
  expect(result.documents.dropped).toBe(1);
});

test('a single document is cut inside', async () => {
  const { train, val } = await prepared('single', 'abcdefghijklmnopqrs', 0.25);
  expect([train, val]).toEqual(['abcdefghijklmno', 'pqrs\n']);
});

test('a folder of texts is read in the order of the names', async () => {
  mkdirSync(path('folder', 'sub'), { recursive: true });
  writeFileSync(path('folder', 'b.txt'), 'second');
  writeFileSync(path('folder', 'a.md'), 'first');
  writeFileSync(path('folder', 'sub', 'c.txt'), 'third');
  writeFileSync(path('folder', 'image.png'), 'no text');
  await prepareText(path('folder'), path('folder-out'));
  expect(decoded(path('folder-out'), 'train') + decoded(path('folder-out'), 'val')).toBe(
    'first\nsecond\nthird\n',
  );
});

test.each([
  ['empty', ''],
  ['blank lines', '\n\n\n'],
  ['no usable line', 'caf\u00e9\n\u65e5\u672c\u8a9e'],
  ['binary', Buffer.from([0, 1, 2, 255, 254])],
])('a text with no usable character is refused: %s', async (name, text) => {
  await expect(prepared(name, text)).rejects.toMatchObject({ code: 'NO_DATA' });
});

test('missing files, empty folders and bad fractions are refused', async () => {
  mkdirSync(path('nothing'));
  await expect(prepareText(path('missing.txt'), path('out'))).rejects.toMatchObject({ code: 'IO' });
  await expect(prepareText(path('nothing'), path('out'))).rejects.toMatchObject({
    code: 'NO_DATA',
  });
  for (const fraction of [0, 1, NaN, -1]) {
    await expect(prepared('fraction', 'text', fraction)).rejects.toMatchObject({
      code: 'OUT_OF_RANGE',
    });
  }
  expect(() => datasetFolder('unknown')).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
});

test('the State of the Union addresses give megabytes of prose', async () => {
  const { tokens, documents } = await prepareText('sotu', path('sotu'));
  expect(tokens.train).toBeGreaterThan(8e6);
  expect(tokens.val).toBeGreaterThan(5e5);
  expect(documents.dropped).toBeLessThan(20);
  const data = await openTokenData(path('sotu'));
  try {
    const start = new Int32Array(60);
    await data.train.read(0, start);
    expect(decodeCharacters(start)).toMatch(/^Fellow-Citizens of the Senate/);
  } finally {
    await data.close();
  }
});
