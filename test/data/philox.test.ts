import { philox4x32, uniformAt } from '../../lib/data/philox';

test('philox4x32 gives the known answers of its authors', () => {
  const known: [number[], number[], number[]][] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [counter, key, expected] of known) {
    expect(
      philox4x32(counter as [number, number, number, number], key as [number, number]),
    ).toEqual(expected);
  }
});

test('uniformAt is uniform on [0, 1) and differs between seeds, counters and streams', () => {
  const values = Array.from({ length: 20000 }, (_, i) => uniformAt(3, i));
  expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.01);
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.003);
  const base = uniformAt(3, 5);
  for (const other of [
    uniformAt(4, 5),
    uniformAt(3, 6),
    uniformAt(3, 5, 1),
    uniformAt(3, 5 + 2 ** 32),
    uniformAt(3 + 2 ** 32, 5),
  ]) {
    expect(other).not.toBe(base);
  }
});
