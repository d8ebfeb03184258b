import { Linear, MoELinear, Parameter, VECTOR, matrix, type HostTensor } from '../../lib/nn';
import {
  Adam,
  AdamW,
  SGD,
  clipGradNorm,
  type Optimizer,
  type ParameterGroup,
} from '../../lib/optim';
import {
  Generator,
  Tensor,
  device,
  full,
  ones,
  randn,
  tensor,
  tidy,
  zeros,
} from '../../lib/tensor';
import { codeOf, wrong } from '../support/errors';
import { leftBy, NOTHING, live } from '../support/memory';

const SIZE = 33;
const STEPS = 6;

const random = (seed: number): Float32Array =>
  tidy(() => randn([SIZE], { generator: new Generator(seed) }).dataSync() as Float32Array);

/** One float64 step: changes p and the state. */
type Rule = (p: number[], g: number[], state: number[][], step: number) => void;

function adamRule(
  lr: number,
  [beta1, beta2]: [number, number],
  eps: number,
  decay: number,
  decoupled: boolean,
): Rule {
  return (p, gradient, [m, v], step) => {
    for (let i = 0; i < p.length; i++) {
      let g = gradient[i];
      if (decoupled) p[i] *= 1 - lr * decay;
      else g += decay * p[i];
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      const mHat = m[i] / (1 - beta1 ** step);
      const vHat = v[i] / (1 - beta2 ** step);
      p[i] -= (lr * mHat) / (Math.sqrt(vHat) + eps);
    }
  };
}

function sgdRule(lr: number, momentum: number, nesterov: boolean, decay: number): Rule {
  return (p, gradient, [buffer], step) => {
    for (let i = 0; i < p.length; i++) {
      const g = gradient[i] + decay * p[i];
      buffer[i] = step === 1 ? g : momentum * buffer[i] + g;
      const direction = momentum === 0 ? g : nesterov ? g + momentum * buffer[i] : buffer[i];
      p[i] -= lr * direction;
    }
  };
}

type Case = [string, (groups: ParameterGroup[]) => Optimizer, Rule];

// The group has lr multiplier 3 and decay 0.2 where given.
const CASES: Case[] = [
  [
    'AdamW',
    (g) => new AdamW(g, { lr: 1e-2, betas: [0.9, 0.95], eps: 1e-6 }),
    adamRule(3e-2, [0.9, 0.95], 1e-6, 0.2, true),
  ],
  ['Adam', (g) => new Adam(g, { lr: 1e-2 }), adamRule(3e-2, [0.9, 0.999], 1e-8, 0.2, false)],
  ['SGD', (g) => new SGD(g, { lr: 1e-2 }), sgdRule(3e-2, 0, false, 0.2)],
  [
    'SGD with momentum',
    (g) => new SGD(g, { lr: 1e-2, momentum: 0.9 }),
    sgdRule(3e-2, 0.9, false, 0.2),
  ],
  [
    'SGD with Nesterov momentum',
    (g) => new SGD(g, { lr: 1e-2, momentum: 0.9, nesterov: true }),
    sgdRule(3e-2, 0.9, true, 0.2),
  ],
];

describe.each(CASES)('%s', (_, create, rule) => {
  let parameter: Parameter;
  let optimizer: Optimizer;
  beforeEach(() => {
    parameter = new Parameter(tensor(random(1)), VECTOR);
    optimizer = create([{ parameters: [['w', parameter]], lrMultiplier: 3, weightDecay: 0.2 }]);
  });
  afterEach(() => {
    optimizer.dispose();
    parameter.dispose();
  });

  const steps = (from: number, to: number): void => {
    for (let step = from; step <= to; step++) {
      parameter.grad = tensor(random(10 + step));
      optimizer.step();
    }
  };

  test('follows its formula', () => {
    const p = Array.from(random(1));
    const state = [new Array<number>(SIZE).fill(0), new Array<number>(SIZE).fill(0)];
    for (let step = 1; step <= STEPS; step++) {
      steps(step, step);
      rule(p, Array.from(random(10 + step)), state, step);
      parameter.dataSync().forEach((v, i) => expect(Math.abs(v - p[i])).toBeLessThan(1e-5));
    }
    expect(optimizer.stepCount).toBe(STEPS);
  });

  test('continues from its state bit by bit', () => {
    steps(1, 3);
    const weights = parameter.dataSync();
    const { step, tensors } = optimizer.stateDict();
    const saved = new Map(
      [...tensors].map(([name, t]) => [
        name,
        { shape: t.shape, data: t.dataSync() as Float32Array },
      ]),
    );
    steps(4, STEPS);
    const expected = parameter.dataSync();

    const other = new Parameter(tensor(weights), VECTOR);
    const resumed = create([{ parameters: [['w', other]], lrMultiplier: 3, weightDecay: 0.2 }]);
    resumed.loadStateDict({ step, tensors: saved });
    for (let s = 4; s <= STEPS; s++) {
      other.grad = tensor(random(10 + s));
      resumed.step();
    }
    expect(Array.from(other.dataSync())).toEqual(Array.from(expected));
    resumed.dispose();
    other.dispose();
  });

  test('leaves a parameter without gradient as it is', () => {
    optimizer.step();
    expect(Array.from(parameter.dataSync())).toEqual(Array.from(random(1)));
  });

  test('refuses a state of another optimiser, naming what differs', () => {
    const shape = { shape: [2], data: new Float32Array(2) };
    const tensors = new Map([
      ['other', shape],
      ['w.m', shape],
    ]);
    expect(() => optimizer.loadStateDict({ step: 1, tensors })).toThrow(
      expect.objectContaining({
        code: 'CHECKPOINT_MISMATCH',
        message: expect.stringContaining('unexpected: other'),
      }),
    );
    expect(() => optimizer.loadStateDict({ step: -1, tensors: new Map() })).toThrow(
      expect.objectContaining({ code: 'CHECKPOINT_MISMATCH' }),
    );
    expect(optimizer.stepCount).toBe(0);
  });

  test('refuses a state with a value it cannot use, and changes nothing', () => {
    steps(1, 2);
    const { tensors } = optimizer.stateDict();
    const contents = (): number[][] => [...tensors.values()].map((t) => Array.from(t.dataSync()));
    const before = contents();
    for (const value of [{ shape: [SIZE], data: new Float32Array(2) }, null, 1]) {
      const other = new Map<string, HostTensor>(
        [...tensors.keys()].map((key) => [
          key,
          { shape: [SIZE], data: new Float32Array(SIZE).fill(5) },
        ]),
      );
      other.set([...tensors.keys()].at(-1) ?? 'w.m', wrong(value));
      const load = () => optimizer.loadStateDict({ step: 7, tensors: other });
      expect(codeOf(load)).toBe('CHECKPOINT_MISMATCH');
      expect(contents()).toEqual(before);
      expect(optimizer.stepCount).toBe(2);
    }
  });

  test.each([undefined, null, { step: 1, tensors: {} }, { step: 1 }])(
    'refuses %j as a state',
    (state) => {
      expect(codeOf(() => optimizer.loadStateDict(wrong(state)))).toBe('INVALID_ARGUMENT');
    },
  );

  test('a step that is refused changes nothing and does not count', () => {
    const other = device('cpu', { threads: 1 });
    parameter.grad = tensor(random(2));
    const gone = ones([]);
    gone.dispose();
    const scales: [Tensor, string][] = [
      [tensor([1, 2, 3]), 'SHAPE_MISMATCH'],
      [zeros([0]), 'SHAPE_MISMATCH'],
      [tensor([1], { dtype: 'int32' }), 'DTYPE_MISMATCH'],
      [ones([], { device: other }), 'DEVICE_MISMATCH'],
      [gone, 'DISPOSED'],
      [wrong(0.5), 'INVALID_ARGUMENT'],
    ];
    for (const [gradScale, code] of scales) {
      expect(codeOf(() => optimizer.step({ gradScale }))).toBe(code);
      if (gradScale instanceof Tensor) gradScale.dispose();
    }
    const { lr } = optimizer;
    optimizer.lr = NaN;
    expect(codeOf(() => optimizer.step())).toBe('INVALID_ARGUMENT');
    optimizer.lr = lr;
    expect(Array.from(parameter.dataSync())).toEqual(Array.from(random(1)));
    expect(optimizer.stepCount).toBe(0);
    other.close();
  });

  test('takes no step once it or a parameter was disposed', () => {
    parameter.grad = tensor(random(2));
    const other = create([{ parameters: [['w', parameter]] }]);
    other.dispose();
    expect(codeOf(() => other.step())).toBe('DISPOSED');
    expect(codeOf(() => other.loadStateDict({ step: 1, tensors: new Map() }))).toBe('DISPOSED');
    expect(Array.from(parameter.dataSync())).toEqual(Array.from(random(1)));
    parameter.dispose();
    expect(codeOf(() => optimizer.step())).toBe('DISPOSED');
    expect(codeOf(() => create([{ parameters: [['w', parameter]] }]))).toBe('DISPOSED');
    expect([other.stepCount, optimizer.stepCount]).toEqual([0, 0]);
  });
});

test('experts that saw no token decay, and their moments move', () => {
  const layer = new MoELinear(2, 2, { experts: 2, k: 1, bias: false });
  const optimizer = new AdamW(layer, { lr: 0.1, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.5 });
  const { weight } = layer.last;
  const step = (x: number[]): void =>
    tidy(() => {
      layer.zeroGrad();
      layer
        .forward(tensor([x]))
        .sum()
        .backward();
      optimizer.step();
    });
  layer.gate.weight.copyFrom([1, 0, 0, 1]); // the first feature chooses expert 0, the second expert 1
  step([0, 1]);
  const moment = (name: 'm' | 'v') =>
    optimizer.stateDict().tensors.get(`last.weight.${name}`)!.dataSync();
  const [w, m, v] = [weight.dataSync(), moment('m'), moment('v')];
  expect(m.subarray(4).some((value) => value !== 0)).toBe(true);
  layer.gate.weight.copyFrom([1, 0, 0, 1]);
  step([1, 0]);
  expect(
    weight
      .grad!.dataSync()
      .subarray(4)
      .every((value) => value === 0),
  ).toBe(true);
  const [after, mAfter, vAfter] = [weight.dataSync(), moment('m'), moment('v')];
  for (let i = 4; i < 8; i++) {
    expect(mAfter[i]).toBeCloseTo(0.9 * m[i], 6);
    expect(vAfter[i]).toBeCloseTo(0.95 * v[i], 6);
    const [mHat, vHat] = [(0.9 * m[i]) / (1 - 0.9 ** 2), (0.95 * v[i]) / (1 - 0.95 ** 2)];
    const update = vHat === 0 ? 0 : mHat / (Math.sqrt(vHat) + 1e-8);
    expect(after[i]).toBeCloseTo(w[i] * (1 - 0.1 * 0.5) - 0.1 * update, 5);
  }
  optimizer.dispose();
  layer.dispose();
});

test('the gradient scale multiplies the gradient', () => {
  const [a, b] = [1, 1].map((seed) => new Parameter(tensor(random(seed)), VECTOR));
  const group = (parameter: Parameter): ParameterGroup[] => [{ parameters: [['w', parameter]] }];
  const [first, second] = [new SGD(group(a)), new SGD(group(b))];
  tidy(() => {
    a.grad = tensor(random(2)).mul(0.25);
    b.grad = tensor(random(2));
    first.step();
    second.step({ gradScale: tensor([0.25]) });
    expect(Array.from(b.dataSync())).toEqual(Array.from(a.dataSync()));
  });
  for (const each of [first, second, a, b]) each.dispose();
});

describe('clipGradNorm', () => {
  const model = new Linear(3, 2);
  afterAll(() => model.dispose());
  const setGrads = (factor: number): void => {
    model.weight.grad = full([2, 3], factor);
    model.bias!.grad = full([2], factor);
  };

  test.each([0.01, 10])('of gradients of %d', (factor) => {
    tidy(() => {
      setGrads(factor);
      const { norm, scale } = clipGradNorm(model.parameters(), 1);
      const expected = factor * Math.sqrt(8);
      expect(norm.item()).toBeCloseTo(expected, 5);
      expect(scale.item()).toBeCloseTo(Math.min(1, 1 / (expected + 1e-6)), 6);
      expect(norm.shape).toEqual([]);
      expect(model.weight.grad!.dataSync()[0]).toBeCloseTo(factor);
    });
  });

  test('only measures with an infinite limit', () => {
    tidy(() => {
      setGrads(1e10);
      const { norm, scale } = clipGradNorm(model.parameters(), Infinity);
      expect(norm.item() / (1e10 * Math.sqrt(8))).toBeCloseTo(1, 5);
      expect(scale.item()).toBe(1);
    });
  });

  test('refuses no gradients and a limit that is not positive', () => {
    model.zeroGrad();
    const error = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
    expect(() => clipGradNorm(model.parameters(), 1)).toThrow(error);
    expect(() => clipGradNorm(model.parameters(), 0)).toThrow(error);
    expect(() => clipGradNorm(model.parameters(), NaN)).toThrow(error);
    for (const parameters of [undefined, model, [null]]) {
      expect(() => clipGradNorm(wrong(parameters), 1)).toThrow(error);
    }
    expect(() => clipGradNorm(wrong(model), 1)).toThrow(
      expect.objectContaining({ details: { parameters: 'an object' } }),
    );
  });

  test('refuses gradients on two devices, and parameters that were disposed, and leaves nothing', () => {
    const other = device('cpu', { threads: 1 });
    const there = new Linear(3, 2, { device: other });
    there.weight.grad = ones([2, 3], { device: other });
    setGrads(1);
    const both = [...model.parameters(), there.weight];
    const call = () => clipGradNorm(both, 1);
    expect(leftBy(() => expect(codeOf(call)).toBe('DEVICE_MISMATCH'))).toEqual(NOTHING);
    there.dispose();
    expect(leftBy(() => expect(codeOf(call)).toBe('DISPOSED'))).toEqual(NOTHING);
    model.zeroGrad();
    other.close();
  });
});

test('a module brings its own groups, decaying matrices only', () => {
  const model = new Linear(8, 4, { baseFans: { fanIn: 2, fanOut: 4 } });
  const optimizer = new AdamW(model, { lr: 1, weightDecay: 0.3 });
  expect(
    optimizer.slots.map(({ name, lrMultiplier, weightDecay }) => [name, lrMultiplier, weightDecay]),
  ).toEqual([
    ['weight', 0.25, 0.3],
    ['bias', 1, 0],
  ]);
  const sgd = new SGD(model, { weightDecay: 0.3 });
  expect(sgd.slots.map((slot) => slot.lrMultiplier)).toEqual([4 / 8 / (4 / 2), 1]);
  for (const each of [optimizer, sgd, model]) each.dispose();
});

test('bad settings are refused and leave nothing allocated', () => {
  const model = new Linear(2, 2);
  const extra = new Parameter(zeros([1]), matrix({ fanIn: 1, fanOut: 1 }));
  const before = live();
  const error = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
  expect(() => new AdamW(model, { lr: -1 })).toThrow(error);
  expect(() => new AdamW(model, { lr: NaN })).toThrow(error);
  expect(() => new AdamW(model, { betas: [0.9, 1] })).toThrow(error);
  expect(() => new AdamW(model, { weightDecay: -0.1 })).toThrow(error);
  expect(() => new SGD(model, { nesterov: true })).toThrow(error);
  const twice = [{ parameters: [['a', extra]] }, { parameters: [['b', extra]] }] as const;
  expect(() => new SGD(twice)).toThrow(
    `Expected every parameter to be in one group, got 'b' twice`,
  );
  for (const target of [undefined, null, {}, [extra], [{}], [{ parameters: [extra] }]]) {
    expect(() => new AdamW(wrong(target))).toThrow(error);
  }
  expect(live()).toEqual(before);
  model.dispose();
  extra.dispose();
});

test('moments outlive a tidy and are given back', () => {
  const before = live();
  const model = new Linear(2, 2);
  const optimizer = tidy(() => new AdamW(model));
  tidy(() => {
    model
      .forward(ones([1, 2]))
      .sum()
      .backward();
    optimizer.step();
    optimizer.zeroGrad();
  });
  optimizer.dispose();
  model.dispose();
  const after = live();
  expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
});
