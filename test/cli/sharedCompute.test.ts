import { sharedCompute } from '../../lib/cli/sharedCompute';

/** A power law, which is a straight line on logarithmic axes. */
const curve = (computes: number[], constant: number) =>
  computes.map((macs) => ({ macs, loss: constant * macs ** -0.1 }));

test('runs are compared where the one that spent least ends, between the points of the others', () => {
  const { macs, losses } = sharedCompute([
    curve([10, 100, 1000], 3),
    curve([20, 300], 2),
    curve([300], 1),
  ]);
  expect(macs).toBe(300);
  expect(losses[0]).toBeCloseTo(3 * 300 ** -0.1, 12);
  expect(losses[1]).toBe(2 * 300 ** -0.1);
  expect(losses[2]).toBe(300 ** -0.1);
});

test('between an untrained model and its first point the line is straight', () => {
  const untrained = [
    { macs: 0, loss: 4 },
    { macs: 100, loss: 2 },
  ];
  expect(sharedCompute([untrained, [{ macs: 25, loss: 3 }]])).toEqual({
    macs: 25,
    losses: [3.5, 3],
  });
});
