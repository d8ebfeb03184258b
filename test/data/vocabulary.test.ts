import fc from 'fast-check';

import { CHARACTERS, CHARACTER_COUNT, decodeCharacters, encodeCharacters } from '../../lib/data';

test('the vocabulary is newline and the printable ASCII characters', () => {
  expect(CHARACTER_COUNT).toBe(96);
  expect(CHARACTERS[0]).toBe('\n');
  expect(CHARACTERS[1]).toBe(' ');
  expect(CHARACTERS[95]).toBe('~');
  expect(Array.from(encodeCharacters('\n A~'))).toEqual([0, 1, 34, 95]);
});

test('decoding undoes encoding', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...CHARACTERS) }), (text) => {
      expect(decodeCharacters(encodeCharacters(text))).toBe(text);
    }),
  );
});

test('other characters and ids are refused with what they are', () => {
  for (const [text, symbol] of [
    ['ab\tc', '\\t'],
    ['caf\u00e9', '\u00e9'],
    ['\u{1f600}', '\u{1f600}'],
    ['\u007f', '\u007f'],
  ]) {
    expect(() => encodeCharacters(text)).toThrow(
      expect.objectContaining({
        code: 'OUT_OF_RANGE',
        message: expect.stringContaining(symbol) as string,
      }),
    );
  }
  for (const id of [-1, 96, 1.5]) {
    expect(() => decodeCharacters([0, id])).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
  }
});
