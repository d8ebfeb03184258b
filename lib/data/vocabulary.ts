import { EinlinearError } from '../errors';

const SPACE = 0x20;
const TILDE = 0x7e;
const NEWLINE = 0x0a;

/** Id of the newline, which ends a document. */
export const NEWLINE_ID = 0;

/** The symbols in the order of their ids: newline, then space to tilde (the paper's character text). */
export const CHARACTERS =
  '\n' +
  Array.from({ length: TILDE - SPACE + 1 }, (_, i) => String.fromCharCode(SPACE + i)).join('');

/** Number of symbols: 96. */
export const CHARACTER_COUNT = CHARACTERS.length;

/** Id of every byte of a text, or -1 where the byte is no symbol of the vocabulary. */
export const ID_OF_BYTE: Readonly<Int8Array> = Int8Array.from({ length: 256 }, (_, byte) =>
  byte === NEWLINE ? NEWLINE_ID : byte >= SPACE && byte <= TILDE ? byte - SPACE + 1 : -1,
);

/**
 * Ids of the characters of a text.
 *
 * @returns as many ids as `text` has characters, each below {@link CHARACTER_COUNT}
 * @throws EinlinearError `OUT_OF_RANGE` for a character that is neither a newline nor printable ASCII
 */
export function encodeCharacters(text: string): Int32Array {
  const ids = new Int32Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const id = ID_OF_BYTE[text.charCodeAt(i)] ?? -1;
    if (id < 0) {
      const symbol = String.fromCodePoint(text.codePointAt(i)!);
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected characters to be newline or printable ASCII, got ${JSON.stringify(symbol)} at position ${i}`,
        { symbol, position: i },
      );
    }
    ids[i] = id;
  }
  return ids;
}

/**
 * The text that ids stand for.
 *
 * @throws EinlinearError `OUT_OF_RANGE` for an id outside the vocabulary
 */
export function decodeCharacters(ids: Iterable<number>): string {
  let text = '';
  for (const id of ids) {
    const symbol = CHARACTERS[id];
    if (symbol === undefined) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected ids to be below ${CHARACTER_COUNT}, got ${id}`,
        { id },
      );
    }
    text += symbol;
  }
  return text;
}
