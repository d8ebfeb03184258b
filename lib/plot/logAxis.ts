const STEPS: readonly (readonly number[])[] = [
  [1],
  [1, 3],
  [1, 2, 5],
  [1, 1.5, 2, 3, 5, 7],
  [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8],
  [
    1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.2, 2.4, 2.6, 2.8, 3, 3.5, 4, 4.5, 5, 6, 7,
    8, 9,
  ],
  Array.from({ length: 180 }, (_, i) => Math.round(100 + 5 * i) / 100),
  Array.from({ length: 900 }, (_, i) => Math.round(100 + i) / 100),
];

/** Round numbers within [low, high] for a logarithmic axis, at least `count` where round ones are so dense. */
export function logTicks(low: number, high: number, count: number): number[] {
  let ticks: number[] = [];
  for (const steps of STEPS) {
    ticks = [];
    for (let exponent = Math.floor(Math.log10(low)); 10 ** exponent <= high; exponent++) {
      for (const step of steps) {
        const value = Number(`${step}e${exponent}`);
        if (value >= low && value <= high) ticks.push(value);
      }
    }
    if (ticks.length >= count) break;
  }
  return ticks;
}

const SUPERSCRIPTS: Readonly<Record<string, string>> = {
  '-': '⁻',
  ...Object.fromEntries(Array.from('⁰¹²³⁴⁵⁶⁷⁸⁹', (symbol, digit) => [String(digit), symbol])),
};

/** A number as one writes it in a paper: 3×10¹², 10¹². */
export function scientific(value: number): string {
  const [mantissa, exponent] = value.toExponential().split('e');
  const power = `10${Array.from(String(Number(exponent)), (digit) => SUPERSCRIPTS[digit]).join('')}`;
  return mantissa === '1' ? power : `${mantissa}×${power}`;
}

/** Writes numbers with as many decimals as the one of them that needs most: 1.9, 2.0. */
export function fixedDecimals(values: readonly number[]): (value: number) => string {
  const decimals = Math.max(
    0,
    ...values.map((value) => {
      const [mantissa, exponent] = value.toExponential().split('e');
      return Math.max(0, mantissa.length - 2) - Number(exponent);
    }),
  );
  return (value) => value.toFixed(decimals);
}
