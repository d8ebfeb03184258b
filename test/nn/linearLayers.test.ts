import {
  BTTLinear,
  BTTMoELinear,
  EinsumLinear,
  KroneckerLinear,
  Linear,
  LowRankLinear,
  MonarchLinear,
  MoELinear,
  TensorTrainLinear,
  auxLoss,
  createLinear,
  type LinearLayer,
} from '../../lib/nn';
import { denseInitStd, parseStructure, planStructure } from '../../lib/structure';
import { Generator, ones, randn, tidy, zeros } from '../../lib/tensor';
import { live } from '../support/memory';

const STRUCTURES = [
  'dense',
  'btt',
  'btt:rank=4',
  'btt:rank=2,gains=false',
  'monarch',
  'low-rank:rank=5',
  'kronecker',
  'tensor-train:rank=3',
  'btt-moe:experts=4,k=2',
  'btt-moe:experts=4,k=2,normalize=false',
  'dense-moe:experts=4,k=2',
  'low-rank-moe:experts=4,k=2',
  'low-rank-moe:experts=3,k=1,rank=12,normalize=false',
  '(0.5|0.25|0.25|0.25|0.5|0.25|0.25)',
  '(0.5|0|0.5|0|0.5|0.5|0):rounding=paper,normalize=false',
];

const rms = (data: ArrayLike<number>): number =>
  Math.sqrt(Array.from(data).reduce((sum, v) => sum + v * v, 0) / data.length);

describe.each(STRUCTURES)('%s', (text) => {
  let layer: LinearLayer;
  beforeEach(() => {
    layer = createLinear(text, 36, 48, { generator: new Generator(1) });
  });
  afterEach(() => layer.dispose());

  test('maps any leading axes, empty ones too', () => {
    tidy(() => {
      expect(layer.forward(randn([2, 3, 36])).shape).toEqual([2, 3, 48]);
      expect(layer.forward(randn([36])).shape).toEqual([48]);
      expect(layer.forward(randn([0, 36])).shape).toEqual([0, 48]);
      expect(() => layer.forward(randn([2, 35]))).toThrow(
        expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
      );
    });
  });

  test('every parameter gets a gradient', () => {
    tidy(() => {
      const loss = layer
        .forward(randn([64, 36]))
        .square()
        .sum();
      const aux = auxLoss(layer); // with k = 1 the gate learns from this alone
      (aux === null ? loss : loss.add(aux)).backward();
    });
    for (const [name, parameter] of layer.namedParameters()) {
      expect([name, parameter.grad === null ? null : rms(parameter.grad.dataSync()) > 0]).toEqual([
        name,
        true,
      ]);
    }
  });

  test('counts its multiply-accumulates as its plan does', () => {
    const plan = planStructure(parseStructure(text), 36, 48);
    expect(layer.macsPerToken).toBe(plan.macsPerToken);
    expect([layer.dIn, layer.dOut]).toEqual([36, 48]);
  });

  test('keeps the scale of its input', () => {
    tidy(() => {
      const y = layer.forward(randn([256, 36], { generator: new Generator(2) }));
      expect(rms(y.dataSync())).toBeGreaterThan(0.3);
      expect(rms(y.dataSync())).toBeLessThan(2);
    });
  });

  test('starts as the zero map with zeroInit, and leaves it when trained', () => {
    const zero = createLinear(text, 36, 48, { zeroInit: true, generator: new Generator(1) });
    tidy(() => {
      const y = zero.forward(randn([16, 36]));
      expect(rms(y.dataSync())).toBe(0);
      y.sum().backward();
      const moved = zero.parameters().map((p) => rms(p.grad!.dataSync()) > 0);
      expect(moved).toContain(true);
    });
    zero.dispose();
  });

  test('gives all memory back', () => {
    const before = live();
    const other = createLinear(text, 36, 48);
    tidy(() =>
      other
        .forward(randn([5, 36]))
        .sum()
        .backward(),
    );
    other.dispose();
    const after = live();
    expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
  });
});

test('the factory makes the named layers', () => {
  const classes = STRUCTURES.map((text) => {
    const layer = createLinear(text, 36, 48);
    layer.dispose();
    return layer.constructor;
  });
  expect(classes).toEqual([
    Linear,
    BTTLinear,
    BTTLinear,
    BTTLinear,
    MonarchLinear,
    LowRankLinear,
    KroneckerLinear,
    TensorTrainLinear,
    BTTMoELinear,
    BTTMoELinear,
    MoELinear,
    MoELinear,
    MoELinear,
    EinsumLinear,
    EinsumLinear,
  ]);
});

test('zeroInit zeroes the last factor of two, and the first of low-rank experts', () => {
  const btt = new BTTLinear(16, 16, { zeroInit: true });
  expect([rms(btt.a.dataSync()) > 0, rms(btt.b.dataSync())]).toEqual([true, 0]);
  const experts = new MoELinear(16, 16, { experts: 4, expert: 'low-rank', zeroInit: true });
  expect(rms(experts.first!.weight.dataSync())).toBe(0);
  expect(rms(experts.last.weight.dataSync())).toBeGreaterThan(0);
  btt.dispose();
  experts.dispose();
});

test('initial standard deviations are those of the formula', () => {
  const generator = new Generator(7);
  const dense = new Linear(256, 64, { generator });
  expect(rms(dense.weight.dataSync()) / denseInitStd(256, 64)).toBeCloseTo(1, 1);
  expect(rms(dense.bias!.dataSync())).toBe(0);
  const btt = new BTTLinear(256, 1024, { rank: 4, generator });
  expect(rms(btt.a.dataSync()) / btt.plan.a.initStd).toBeCloseTo(1, 1);
  expect(rms(btt.b.dataSync()) / btt.plan.b.initStd).toBeCloseTo(1, 1);
  dense.dispose();
  btt.dispose();
});

test('a normalised layer does not grow with its factors, an unnormalised one does', () => {
  for (const normalize of [true, false]) {
    const layer = new KroneckerLinear(16, 16, {
      normalize,
      bias: false,
      generator: new Generator(1),
    });
    tidy(() => {
      const x = ones([1, 16]);
      const before = rms(layer.forward(x).dataSync());
      for (const p of layer.parameters()) p.copyFrom(p.dataSync().map((v) => v * 100));
      const after = rms(layer.forward(x).dataSync());
      if (normalize) expect(after / before).toBeLessThan(2);
      else expect(after / before).toBeCloseTo(10000, -1);
    });
    layer.dispose();
  }
});

test('the low-rank experts normalise each on its own', () => {
  const options = { experts: 2, k: 2, expert: 'low-rank', bias: false } as const;
  const layer = new MoELinear(8, 8, { ...options, generator: new Generator(3) });
  tidy(() => {
    const x = randn([4, 8], { generator: new Generator(4) });
    const before = layer.forward(x).dataSync();
    const weight = layer.first!.weight;
    // Only the second expert grows; normalisation takes it back, and the first stays as it was.
    const grown = weight
      .dataSync()
      .map((v, i) => (i < weight.size / 2 ? v : v * 1e6)) as Float32Array;
    weight.copyFrom(grown);
    expect(rms(layer.forward(x).dataSync()) / rms(before)).toBeLessThan(2);
  });
  layer.dispose();
});

test('the bias has the length of the rounded output and is added before truncation', () => {
  const layer = new EinsumLinear('(0.5|0|0.5|0|0.5|0.5|0)', 32, 32, { rounding: 'paper' });
  expect(layer.bias!.shape).toEqual([36]);
  layer.bias!.copyFrom(Float32Array.from({ length: 36 }, (_, i) => i));
  tidy(() => {
    const y = layer.forward(zeros([1, 32])).dataSync();
    expect(Array.from(y)).toEqual(Array.from({ length: 32 }, (_, i) => i));
  });
  layer.dispose();
});

test.each([
  ['no structure of ours', 'INVALID_ARGUMENT'],
  ['(0.5|0|0.4|0|0.5|0.5|0)', 'INVALID_THETA'],
  ['(0.25|0|0.75|0|0.75|0.25|0):rounding=paper', 'NOT_FACTORABLE'],
  ['btt-moe:experts=2,k=3', 'OUT_OF_RANGE'],
  ['low-rank-moe:experts=2,k=3', 'OUT_OF_RANGE'],
])('%s is refused and leaves nothing allocated', (text, code) => {
  const before = live();
  expect(() => createLinear(text, 36, 36)).toThrow(expect.objectContaining({ code }));
  expect(() => createLinear('btt', 0, 36)).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
  expect(() => new BTTMoELinear(16, 16, { experts: 2, k: 3 })).toThrow(
    'Expected k to be at most 2 (the number of experts), got 3',
  );
  expect(live()).toEqual(before);
});
