import { EinlinearError } from '../errors';
import { requireInt, requireShape, requireValues } from './checks';
import type { Tensor } from './tensor';

// The mixture-of-experts ops trust their index arrays, which stay on the device. Those that came
// from moeRoute and moeDispatch are known to be right; others are read back and checked.

/** int32 [..., k] of distinct experts in each row. */
export function requireChoices(index: Tensor, experts: number): void {
  requireInt('index', index);
  const known = index.storage.known?.experts;
  if (known !== undefined && known <= experts) return;
  requireValues('index', index, 0, experts - 1);
  const k = index.shape[index.ndim - 1];
  const values = index.dataSync();
  for (let start = 0; start < values.length; start += k) {
    const row = values.subarray(start, start + k);
    const wrong = row.find((expert) => expert < 0 || expert >= experts);
    if (wrong !== undefined) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected the values of index to be from 0 to ${experts - 1}, got ${wrong}`,
        { value: wrong, experts },
      );
    }
    if (new Set(row).size !== k) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected each row of index to name ${k} different experts, got [${row.join(', ')}]`,
      );
    }
  }
}

/** int32 [rows], a permutation of 0 … rows − 1. */
export function requirePermutation(position: Tensor, rows: number): void {
  requireInt('position', position);
  requireShape('position', position, [rows], ['tokens·k']);
  if (position.storage.known?.permutation === rows) return;
  const values = position.dataSync();
  const seen = new Uint8Array(rows);
  for (const value of values) {
    if (value < 0 || value >= rows || seen[value] === 1) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected position to hold each row from 0 to ${rows - 1} once, got ${value}`,
        { value, rows },
      );
    }
    seen[value] = 1;
  }
}

/** int32 [experts + 1], ascending from 0 to rows. */
export function requireGroups(offsets: Tensor, experts: number, rows: number): void {
  requireInt('offsets', offsets);
  requireShape('offsets', offsets, [experts + 1], ['experts + 1']);
  if (offsets.storage.known?.groups === rows) return;
  const values = offsets.dataSync();
  const ascends = values.every((value, i) => i === 0 || value >= values[i - 1]);
  if (!ascends || values[0] !== 0 || values[experts] !== rows) {
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected offsets to ascend from 0 to ${rows} (the number of rows), got [${values.join(', ')}]`,
      { rows },
    );
  }
}
