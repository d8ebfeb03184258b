import { constantSchedule, cosineSchedule, linearSchedule } from '../../lib/optim';

test('warm-up rises from zero, then the factor is constant', () => {
  const schedule = constantSchedule({ warmupSteps: 4 });
  expect([0, 1, 2, 3, 4, 5, 1000].map(schedule)).toEqual([0, 0.25, 0.5, 0.75, 1, 1, 1]);
  expect(constantSchedule()(0)).toBe(1);
});

test('cosine falls from one to its end and stays', () => {
  const schedule = cosineSchedule({ warmupSteps: 10, steps: 110, final: 0.1 });
  expect(schedule(5)).toBe(0.5);
  expect(schedule(10)).toBe(1);
  expect(schedule(60)).toBeCloseTo(0.55, 12);
  expect(schedule(35)).toBeCloseTo(0.1 + 0.9 * 0.5 * (1 + Math.cos(Math.PI / 4)), 12);
  expect(schedule(110)).toBe(0.1);
  expect(schedule(1e6)).toBe(0.1);
  expect(cosineSchedule({ steps: 10 })(10)).toBe(0);
});

test('linear falls on a straight line', () => {
  const schedule = linearSchedule({ warmupSteps: 2, steps: 12, final: 0.5 });
  expect(schedule(1)).toBe(0.5);
  expect(schedule(2)).toBe(1);
  expect(schedule(7)).toBeCloseTo(0.75, 12);
  expect(schedule(12)).toBe(0.5);
});

test('never leaves [0, 1] and has no step in it', () => {
  for (const create of [cosineSchedule, linearSchedule]) {
    const schedule = create({ warmupSteps: 100, steps: 1000, final: 0.1 });
    for (let step = 0; step < 1100; step++) {
      const [now, next] = [schedule(step), schedule(step + 1)];
      expect(now).toBeGreaterThanOrEqual(0);
      expect(now).toBeLessThanOrEqual(1);
      expect(Math.abs(next - now)).toBeLessThan(0.011);
    }
  }
});

test('bad settings are refused', () => {
  const error = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
  expect(() => constantSchedule({ warmupSteps: -1 })).toThrow(error);
  expect(() => cosineSchedule({ steps: 1.5 })).toThrow(error);
  expect(() => cosineSchedule({ steps: 10, final: 2 })).toThrow(error);
  expect(() => linearSchedule({ steps: 10, warmupSteps: 11 })).toThrow(error);
});
