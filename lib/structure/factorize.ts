import { positiveInteger } from './integers';

/** Distances closer than this are ties, so that the choice does not hang on the last bit of a logarithm. */
const TIE = 1e-9;

/** All divisors of a positive integer, ascending. */
export function divisors(n: number): number[] {
  positiveInteger('n', n);
  const small: number[] = [];
  const large: number[] = [];
  for (let d = 1; d * d <= n; ++d) {
    if (n % d !== 0) continue;
    small.push(d);
    if (d * d !== n) large.unshift(n / d);
  }
  return [...small, ...large];
}

/** The two divisors of n whose product is n and whose ratio is nearest one, the smaller first: 768 → 24, 32. */
export function nearestDivisorPair(n: number): [number, number] {
  const smaller = divisors(n)
    .filter((d) => d * d <= n)
    .at(-1)!;
  return [smaller, n / smaller];
}

/**
 * The published code's split of n into two numbers: prime factors in ascending order, each multiplied onto
 * the smaller number so far (ties: the first), the smaller first at the end: 768 → 16, 48.
 */
export function primeFactorPair(n: number): [number, number] {
  positiveInteger('n', n);
  let first = 1;
  let second = 1;
  let rest = n;
  const spread = (prime: number): void => {
    if (first <= second) first *= prime;
    else second *= prime;
  };
  for (let p = 2; p * p <= rest; ++p) {
    for (; rest % p === 0; rest /= p) spread(p);
  }
  if (rest > 1) spread(rest);
  return first <= second ? [first, second] : [second, first];
}

/**
 * The exact factorisation of n whose factors are nearest n^exponent for each of the three exponents: the
 * least sum of squared differences of logarithms. An exponent of zero stays a factor of one, so that
 * a structure keeps its form. Ties go to the smallest first factor, then the smallest second.
 */
export function nearestFactorization(
  n: number,
  exponents: readonly [number, number, number],
): [number, number, number] {
  positiveInteger('n', n);
  const logN = Math.log(n);
  const distance = (factor: number, exponent: number): number =>
    exponent === 0 && factor !== 1 ? Infinity : (Math.log(factor) - exponent * logN) ** 2;
  let best: [number, number, number] = [n, 1, 1];
  let bestDistance = Infinity;
  const candidates = divisors(n);
  for (const first of candidates) {
    const firstDistance = distance(first, exponents[0]);
    if (firstDistance >= bestDistance) continue;
    for (const second of candidates) {
      if ((n / first) % second !== 0) continue;
      const third = n / first / second;
      const total = firstDistance + distance(second, exponents[1]) + distance(third, exponents[2]);
      if (total < bestDistance - TIE) {
        best = [first, second, third];
        bestDistance = total;
      }
    }
  }
  return best;
}
