import { progressBar, progressText, type ProgressState } from '../../lib/cli/progressLine';

const STATE: ProgressState = {
  label: 'btt-moe:experts=8',
  step: 1234,
  steps: 100_000,
  loss: 2.3456,
  valLoss: 2.4567,
  tokensPerSecond: 12_345,
  secondsLeft: 3725,
};
const WANTED = ['loss 2.346', '12,345 tokens/s', '1:02:05 left'];

test.each(['dense', 'btt-moe:experts=8', '(0.5|0.25|0.25|0.25|0.5|0.25|0.25)'])(
  'a line of 80 columns has loss, speed and time left: %s',
  (label) => {
    for (const step of [0, 1234, 100_000]) {
      const line = progressBar({ ...STATE, label, step }, 80);
      expect(line.length).toBeLessThanOrEqual(80);
      for (const text of WANTED) expect(line).toContain(text);
      expect(line).toMatch(/[█░]{4}/);
    }
  },
);

test('what is wanted least goes first', () => {
  const kept = (columns: number) => {
    const line = progressBar(STATE, columns);
    expect(line.length).toBeLessThanOrEqual(columns);
    const bar = /[█░]+/.exec(line)?.[0].length ?? 0;
    return { val: line.includes('val'), step: line.includes('step'), bar };
  };
  expect(kept(130)).toEqual({ val: true, step: true, bar: 24 });
  expect(kept(112)).toEqual({ val: false, step: true, bar: 24 });
  expect(kept(100)).toEqual({ val: false, step: false, bar: 24 });
  expect(kept(80).bar).toBeGreaterThanOrEqual(10);
  expect(progressBar(STATE, 20).length).toBeLessThanOrEqual(20);
});

test('nothing is said of what is not known yet', () => {
  const nothing = { loss: null, valLoss: null, tokensPerSecond: null, secondsLeft: null };
  const state = { label: 'dense', step: 0, steps: 10, ...nothing };
  expect(progressBar(state, 80)).toBe(`dense ${'░'.repeat(24)} 0% · step 0/10`);
  expect(progressText(state)).toBe('dense · step 0/10');
  expect(progressBar({ ...state, steps: 0 }, 80)).toContain('100%');
});
