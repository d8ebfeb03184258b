import { uniformAt } from '../../lib/data';

const WORDS =
  'the of and people union states congress government laws great public peace war'.split(' ');

/** Lines of words, the same at every call: enough structure for a tiny model to learn. */
export function prose(lines: number): string {
  return Array.from({ length: lines }, (_, line) =>
    Array.from(
      { length: 12 },
      (_, word) => WORDS[Math.floor(uniformAt(7, 12 * line + word) * WORDS.length)],
    ).join(' '),
  ).join('\n');
}
