import type { Device } from '../../lib/tensor';
import {
  Generator,
  defaultGenerator,
  device,
  dropout,
  full,
  manualSeed,
  ones,
  rand,
  randn,
  tidy,
} from '../../lib/tensor';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

const statistics = (values: ArrayLike<number>): { mean: number; std: number } => {
  const list = Array.from(values);
  const mean = list.reduce((a, b) => a + b, 0) / list.length;
  const variance = list.reduce((a, b) => a + (b - mean) ** 2, 0) / list.length;
  return { mean, std: Math.sqrt(variance) };
};

test('normal numbers', () => {
  tidy(() => {
    const values = randn([100_000], { generator: new Generator(1), mean: 2, std: 0.5 }).dataSync();
    const { mean, std } = statistics(values);
    expect(Math.abs(mean - 2)).toBeLessThan(0.01);
    expect(Math.abs(std - 0.5)).toBeLessThan(0.005);
    const beyond = Array.from(values).filter((x) => Math.abs(x - 2) > 1).length / values.length;
    expect(beyond).toBeGreaterThan(0.04);
    expect(beyond).toBeLessThan(0.051);
  });
});

test('uniform numbers', () => {
  tidy(() => {
    const values = rand([100_000], { generator: new Generator(2), low: -1, high: 3 }).dataSync();
    const { mean, std } = statistics(values);
    expect(Math.abs(mean - 1)).toBeLessThan(0.02);
    expect(Math.abs(std - 4 / Math.sqrt(12))).toBeLessThan(0.01);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(-1);
    expect(Math.max(...values)).toBeLessThan(3);
  });
});

test('numbers depend on seed and counter only', () => {
  tidy(() => {
    const together = [...randn([257], { generator: new Generator(3) }).dataSync()];
    const generator = new Generator(3);
    const parts = [1, 3, 64, 189].flatMap((count) => [...randn([count], { generator }).dataSync()]);
    expect(parts).toEqual(together);
    expect(generator.counter).toBe(257);
    expect([...randn([257], { generator: new Generator(4) }).dataSync()]).not.toEqual(together);
    for (const threads of [1, 3]) {
      const other = device('cpu', { threads });
      expect([...randn([257], { generator: new Generator(3), device: other }).dataSync()]).toEqual(
        together,
      );
      other.close();
    }
  });
});

test('every backend draws the same bits', () => {
  tidy(() => {
    const cpu = device('cpu');
    const draw = (on?: Device): number[][] => {
      const generator = new Generator(11);
      return [
        randn([3001], { generator, mean: 0.3, std: 1.7, device: on }),
        rand([3003], { generator, low: -0.7, high: 1.9, device: on }),
        dropout(full([3005], 1.1, { device: on }), 0.4, { generator }),
      ].map((each) => [...each.dataSync()]);
    };
    expect(draw()).toEqual(draw(cpu));
    cpu.close();
  });
});

test('a saved state continues bit-exactly', () => {
  tidy(() => {
    const generator = new Generator(2 ** 53 - 1);
    randn([10], { generator });
    const saved = JSON.parse(JSON.stringify(generator.state)) as Generator['state'];
    const next = [...randn([10], { generator }).dataSync()];
    const other = new Generator();
    other.state = saved;
    expect([...randn([10], { generator: other }).dataSync()]).toEqual(next);
  });
});

test('manualSeed restarts the default generator', () => {
  tidy(() => {
    manualSeed(7);
    const first = [...rand([5]).dataSync()];
    expect(defaultGenerator.counter).toBe(5);
    manualSeed(7);
    expect([...rand([5]).dataSync()]).toEqual(first);
  });
});

test('dropout keeps the share 1 - p, scaled, and the gradient uses the same mask', () => {
  tidy(() => {
    const x = ones([50_000], { requiresGrad: true });
    const y = dropout(x, 0.25, { generator: new Generator(5) });
    const values = [...y.dataSync()];
    const scale = Math.fround(1 / 0.75);
    expect(values.every((value) => value === 0 || Math.abs(value - scale) < 1e-6)).toBe(true);
    const kept = values.filter((value) => value !== 0).length / values.length;
    expect(Math.abs(kept - 0.75)).toBeLessThan(0.01);
    y.sum().backward();
    expect([...(x.grad?.dataSync() ?? [])]).toEqual(values);
    expect([...dropout(x, 0.25, { generator: new Generator(5) }).dataSync()]).toEqual(values);
  });
});

test('dropout without training, of nothing and of all', () => {
  tidy(() => {
    const x = ones([100], { requiresGrad: true });
    const { counter } = defaultGenerator;
    expect([...dropout(x, 0.5, { training: false }).dataSync()]).toEqual(new Array(100).fill(1));
    expect([...dropout(x, 0).dataSync()]).toEqual(new Array(100).fill(1));
    expect(defaultGenerator.counter).toBe(counter);
    expect([...dropout(x, 1).dataSync()]).toEqual(new Array(100).fill(0));
    dropout(x, 0.5, { training: false }).sum().backward();
    expect([...(x.grad?.dataSync() ?? [])]).toEqual(new Array(100).fill(1));
  });
});

test('bad arguments', () => {
  tidy(() => {
    expect(() => dropout(ones([1]), 1.5)).toThrow('Expected p to be a number from 0 to 1, got 1.5');
    expect(() => dropout(ones([1]), NaN)).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
    expect(() => new Generator(-1)).toThrow(
      'Expected seed to be a whole number of at least 0, got -1',
    );
    expect(() => manualSeed(0.5)).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
    expect(() => randn([2], { std: -1 })).toThrow('Expected std to be a number of at least 0');
    expect(() => rand([2], { low: 1, high: 0 })).toThrow('Expected high');
    expect(() => rand([2], { dtype: 'int32' })).toThrow(
      expect.objectContaining({ code: 'DTYPE_MISMATCH' }),
    );
  });
});
