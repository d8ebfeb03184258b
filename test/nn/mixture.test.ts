import {
  BTTMoELinear,
  Gate,
  Linear,
  MoE,
  MoELinear,
  Sequential,
  auxLoss,
  gateStatistics,
  gates,
  type LinearLayer,
} from '../../lib/nn';
import { AdamW } from '../../lib/optim';
import { Generator, gelu, randn, tensor, tidy, type Tensor } from '../../lib/tensor';
import { live } from '../support/memory';

const random = (seed: number, shape: number[], std = 1): Float32Array =>
  tidy(() => randn(shape, { std, generator: new Generator(seed) }).dataSync() as Float32Array);

/** Choices and weights of every token, in plain JavaScript. */
function route(x: Float32Array, gate: Gate): { index: number; weight: number }[][] {
  const weight = gate.weight.dataSync();
  const tokens = x.length / gate.dIn;
  return Array.from({ length: tokens }, (_, t) => {
    const logits = Array.from({ length: gate.experts }, (_, e) => {
      let sum = 0;
      for (let i = 0; i < gate.dIn; i++) sum += weight[e * gate.dIn + i] * x[t * gate.dIn + i];
      return sum;
    });
    const order = logits.map((_, e) => e).sort((a, b) => logits[b] - logits[a] || a - b);
    const chosen = order.slice(0, gate.k);
    const total = chosen.reduce((sum, e) => sum + Math.exp(logits[e]), 0);
    return chosen.map((e) => ({
      index: e,
      weight: Math.exp(logits[e]) / total + gate.weightEpsilon,
    }));
  });
}

/** Expert e of a stacked linear layer on one token. */
function expert(
  layer: { weight: Tensor; bias: Tensor | null },
  e: number,
  x: ArrayLike<number>,
): number[] {
  const [, dOut, dIn] = layer.weight.shape as [number, number, number];
  const weight = layer.weight.dataSync();
  const bias = layer.bias?.dataSync();
  return Array.from({ length: dOut }, (_, o) => {
    let sum = bias ? bias[e * dOut + o] : 0;
    for (let i = 0; i < dIn; i++) sum += weight[(e * dOut + o) * dIn + i] * x[i];
    return sum;
  });
}

function expectClose(got: ArrayLike<number>, expected: number[]): void {
  expect(got).toHaveLength(expected.length);
  expected.forEach((value, i) =>
    expect(Math.abs(got[i] - value)).toBeLessThan(1e-4 * (1 + Math.abs(value))),
  );
}

test.each(['dense', 'low-rank'] as const)(
  'a mixture of %s matrices is the sum of its experts',
  (kind) => {
    const layer = new MoELinear(6, 5, {
      experts: 4,
      k: 2,
      expert: kind,
      rank: 2,
      normalize: false,
    });
    layer.gate.weight.copyFrom(random(1, [4, 6]));
    layer.last.bias!.copyFrom(random(2, [4, 5]));
    const x = random(3, [7, 6]);
    const expected = route(x, layer.gate).flatMap((choices, t) => {
      const token = x.slice(t * 6, (t + 1) * 6);
      const y = new Array<number>(5).fill(0);
      for (const { index, weight } of choices) {
        const hidden = layer.first === null ? token : expert(layer.first, index, token);
        expert(layer.last, index, hidden).forEach((v, i) => (y[i] += weight * v));
      }
      return y;
    });
    tidy(() => expectClose(layer.forward(tensor(x, { shape: [7, 6] })).dataSync(), expected));
    layer.dispose();
  },
);

test('a mixture over feed-forward blocks is the sum of its experts', () => {
  const layer = new MoE(4, { experts: 3, k: 2, hidden: 8, bias: true });
  layer.gate.weight.copyFrom(random(1, [3, 4]));
  const x = random(3, [5, 4]);
  const expected = route(x, layer.gate).flatMap((choices, t) => {
    const y = new Array<number>(4).fill(0);
    for (const { index, weight } of choices) {
      const hidden = expert(layer.up, index, x.slice(t * 4, (t + 1) * 4));
      const active = tidy(() => gelu(tensor(hidden)).dataSync());
      expert(layer.down, index, active).forEach((v, i) => (y[i] += weight * v));
    }
    return y;
  });
  tidy(() => {
    const y = layer.forward(tensor(x, { shape: [1, 5, 4] }));
    expect(y.shape).toEqual([1, 5, 4]);
    expectClose(y.dataSync(), expected);
  });
  expect(layer.macsPerToken).toBe(2 * 2 * 4 * 8 + 3 * 4);
  layer.dispose();
});

test('with all experts equal the gate does not matter', () => {
  const layer = new BTTMoELinear(16, 16, { experts: 4, k: 2, bias: false });
  const x = random(1, [6, 16]);
  const [before, after] = tidy(() => {
    const input = tensor(x, { shape: [6, 16] });
    for (const factor of [layer.a, layer.b]) {
      const { shape } = factor;
      const slice = factor.slice(2, 0, 1).expand(shape);
      factor.copyFrom(slice.detach());
    }
    const first = layer.forward(input).dataSync();
    layer.gate.weight.copyFrom(random(2, [4, 16]));
    return [first, layer.forward(input).dataSync()];
  });
  expectClose(after, Array.from(before));
  layer.dispose();
});

test.each([
  ['BTT-MoE', (): LinearLayer => new BTTMoELinear(16, 16, { experts: 4, zeroInit: true })],
  ['dense experts', (): LinearLayer => new MoELinear(16, 16, { experts: 4, zeroInit: true })],
  [
    'low-rank experts',
    (): LinearLayer => new MoELinear(16, 16, { experts: 4, expert: 'low-rank', zeroInit: true }),
  ],
])('%s learn a map from zero', (_, create) => {
  const layer = create();
  const optimizer = new AdamW(layer, { lr: 0.02, weightDecay: 0 });
  const x = tensor(random(1, [64, 16]), { shape: [64, 16] });
  const target = tidy(() => x.mul(2).neg().keep());
  const step = (): number =>
    tidy(() => {
      const loss = layer.forward(x).sub(target).square().mean();
      optimizer.zeroGrad();
      loss.add(auxLoss(layer)!.mul(0.01)).backward();
      optimizer.step();
      return loss.item();
    });
  const first = step();
  let last = first;
  for (let i = 0; i < 150; i++) last = step();
  expect(last).toBeLessThan(0.5 * first);
  const moved = layer.parameters().every((p) => p.dataSync().some((v) => v !== 0));
  expect(moved).toBe(true);
  optimizer.dispose();
  layer.dispose();
  x.dispose();
  target.dispose();
});

test('auxiliary loss is the mean over gates; statistics name them', async () => {
  const model = new Sequential(
    new Linear(8, 8),
    new BTTMoELinear(8, 8, { experts: 4, k: 2 }),
    new MoELinear(8, 8, { experts: 2, k: 1 }),
  );
  expect(gates(model)).toHaveLength(2);
  expect(auxLoss(model)).toBeNull();
  expect(await gateStatistics(model)).toEqual([]);
  tidy(() => {
    model.forward(randn([32, 8]));
    const each = gates(model).map((gate) => gate.auxLoss!.item());
    expect(auxLoss(model)!.item()).toBeCloseTo((each[0] + each[1]) / 2, 5);
    // Zero gates: p uniform, all tokens to the first experts, logsumexp = log experts.
    expect(each[0]).toBeCloseTo(1 + 0.1 * Math.log(4) ** 2, 4);
    expect(each[1]).toBeCloseTo(1 + 0.1 * Math.log(2) ** 2, 4);
  });
  const statistics = await gateStatistics(model);
  expect(statistics.map(({ name }) => name)).toEqual(['layers.1.gate', 'layers.2.gate']);
  expect(statistics[0].perplexity).toBeCloseTo(4, 4);
  expect(statistics[0].averagePerplexity).toBeCloseTo(4, 4);
  expect(statistics[0].usage).toEqual([0.5, 0.5, 0, 0]);
  expect(statistics[1].usage).toEqual([1, 0]);
  model.dispose();
});

test('a decided gate has perplexity one and a balanced average', async () => {
  const gate = new Gate(2, 2, 1);
  gate.weight.copyFrom([100, 0, 0, 100]);
  tidy(() =>
    gate.forward(
      tensor([
        [1, 0],
        [0, 1],
      ]),
    ),
  );
  const statistics = (await gate.statistics())!;
  expect(statistics.perplexity).toBeCloseTo(1, 4);
  expect(statistics.averagePerplexity).toBeCloseTo(2, 4);
  expect(statistics.usage).toEqual([0.5, 0.5]);
  gate.dispose();
});

test('gates give their memory back', () => {
  const before = live();
  const model = new MoE(8, { experts: 4 });
  for (let i = 0; i < 3; i++)
    tidy(() =>
      model
        .forward(randn([5, 8]))
        .sum()
        .backward(),
    );
  model.dispose();
  const after = live();
  expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
});

test('k beyond the experts is refused', () => {
  const before = live();
  const error = expect.objectContaining({ code: 'OUT_OF_RANGE', details: { k: 5, limit: 4 } });
  expect(() => new Gate(8, 4, 5)).toThrow(error);
  expect(() => new MoE(8, { experts: 4, k: 5 })).toThrow(error);
  expect(() => new MoELinear(8, 8, { experts: 4, k: 5 })).toThrow(error);
  expect(live()).toEqual(before);
});
