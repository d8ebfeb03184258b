/** High and low halves of a 32 × 32 bit product. */
function multiply(a: number, b: number): [high: number, low: number] {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const middle2 = aLow * bHigh + (middle % 0x10000);
  return [aHigh * bHigh + Math.floor(middle / 0x10000) + (middle2 >>> 16), Math.imul(a, b) >>> 0];
}

/**
 * Philox 4×32-10, a counter-based generator: the numbers are a function of key and counter alone, so that a stream can
 * be continued from anywhere (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
 *
 * @param counter four 32-bit words
 * @param key two 32-bit words
 * @returns four 32-bit words
 */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * The uniform number in [0, 1) with 53 random bits that belongs to `counter` in the stream of `seed`.
 *
 * @param seed integer from 0 to 2^53 − 1
 * @param counter integer from 0 to 2^53 − 1
 * @param stream tells apart the uses of one seed
 */
export function uniformAt(seed: number, counter: number, stream = 0): number {
  const [a, b] = philox4x32(
    [counter >>> 0, Math.floor(counter / 2 ** 32), stream >>> 0, 0],
    [seed >>> 0, Math.floor(seed / 2 ** 32)],
  );
  return ((a >>> 5) * 0x4000000 + (b >>> 6)) / 2 ** 53;
}
