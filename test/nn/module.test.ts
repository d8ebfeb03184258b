import type { EinlinearError } from '../../lib/errors';
import {
  Dropout,
  GELU,
  Linear,
  LayerNorm,
  Sequential,
  createLinear,
  type HostTensor,
  type Module,
} from '../../lib/nn';
import { Generator, Tensor, memory, randn, tensor, tidy, zeros } from '../../lib/tensor';
import { wrong } from '../support/errors';

const small = (seed = 1): Sequential => {
  const generator = new Generator(seed);
  return new Sequential(
    new Linear(4, 6, { generator }),
    new GELU(),
    new LayerNorm(6),
    createLinear('btt:rank=2', 6, 4, { generator }),
  );
};

const values = (module: Module): number[][] =>
  module.parameters().map((parameter) => Array.from(parameter.dataSync()));

function thrown(body: () => unknown): EinlinearError {
  try {
    body();
  } catch (error) {
    return error as EinlinearError;
  }
  throw new Error('Expected an error, got none');
}

test('parameters are named by the path to them', () => {
  const model = small();
  expect(model.namedParameters().map(([name]) => name)).toEqual([
    'layers.0.weight',
    'layers.0.bias',
    'layers.2.weight',
    'layers.2.bias',
    'layers.3.a',
    'layers.3.b',
    'layers.3.gainA',
    'layers.3.gainB',
    'layers.3.bias',
  ]);
  expect(model.parameterCount()).toBe(
    model.parameters().reduce((sum, parameter) => sum + parameter.size, 0),
  );
  model.dispose();
});

test('a parameter used twice is listed once', () => {
  const layer = new Linear(2, 2);
  const model = new Sequential(layer, layer);
  expect(model.parameters()).toHaveLength(2);
  model.dispose();
});

test('state makes the round trip, from tensors and from host data', () => {
  const [a, b, c] = [small(1), small(2), small(3)];
  expect(values(a)).not.toEqual(values(b));
  expect(b.loadStateDict(a.stateDict())).toEqual({ missing: [], unexpected: [] });
  expect(values(b)).toEqual(values(a));
  const host = new Map(
    [...a.stateDict()].map(([name, t]) => [
      name,
      { shape: t.shape, data: t.dataSync() as Float32Array },
    ]),
  );
  c.loadStateDict(host);
  expect(values(c)).toEqual(values(a));
  for (const model of [a, b, c]) model.dispose();
});

test('the same seed gives the same values', () => {
  const [a, b] = [small(5), small(5)];
  expect(values(a)).toEqual(values(b));
  a.dispose();
  b.dispose();
});

test('strict loading reports everything in one error and changes nothing', () => {
  const model = small();
  const before = values(model);
  const state = new Map(model.stateDict());
  const misshapen = zeros([3, 4]);
  const extra = zeros([1]);
  state.delete('layers.0.bias');
  state.set('layers.0.weight', misshapen);
  state.set('layers.9.weight', extra);
  const error = thrown(() => model.loadStateDict(state));
  expect(error.code).toBe('CHECKPOINT_MISMATCH');
  expect(error.message).toContain('missing: layers.0.bias');
  expect(error.message).toContain('unexpected: layers.9.weight');
  expect(error.message).toContain('layers.0.weight expected shape [6, 4], got [3, 4]');
  expect(error.details).toEqual({
    missing: ['layers.0.bias'],
    unexpected: ['layers.9.weight'],
    wrongShapes: [{ name: 'layers.0.weight', expected: [6, 4], got: [3, 4] }],
    wrongValues: [],
  });
  expect(values(model)).toEqual(before);
  for (const t of [misshapen, extra]) t.dispose();
  model.dispose();
});

test.each<[string, () => Tensor | HostTensor]>([
  ['too few values', () => ({ shape: [4], data: new Float32Array(3) })],
  ['too many values', () => ({ shape: [4], data: new Float32Array(5) })],
  ['doubles', () => ({ shape: [4], data: wrong(new Float64Array(4)) })],
  ['values without a shape', () => wrong({ data: new Float32Array(4) })],
  ['a number', () => wrong(1)],
  ['null', () => wrong(null)],
  ['undefined', () => wrong(undefined)],
  ['an int32 tensor', () => zeros([4], { dtype: 'int32' })],
  [
    'a disposed tensor',
    () => {
      const value = zeros([4]);
      value.dispose();
      return value;
    },
  ],
])('a state with %s is refused and changes nothing', (_what, make) => {
  const [model, other] = [small(1), small(2)];
  const before = values(model);
  // The last parameter: all the others would have been copied by then.
  const [name] = model.namedParameters().at(-1)!;
  const value = make();
  for (const strict of [true, false]) {
    const state = new Map<string, Tensor | HostTensor>(other.stateDict());
    state.set(name, value);
    const error = thrown(() => model.loadStateDict(state, { strict }));
    expect(error.code).toBe('CHECKPOINT_MISMATCH');
    expect(error.message).toContain(`${name} expected live float32 values, got`);
    expect(values(model)).toEqual(before);
  }
  if (value instanceof Tensor) value.dispose();
  model.dispose();
  expect(thrown(() => model.loadStateDict(other.stateDict())).code).toBe('DISPOSED');
  other.dispose();
});

test('loose loading copies what both have, but no wrong shape', () => {
  const [model, other] = [small(1), small(2)];
  const state = new Map(other.stateDict());
  state.delete('layers.0.bias');
  const extra = zeros([1]);
  state.set('extra', extra);
  expect(model.loadStateDict(state, { strict: false })).toEqual({
    missing: ['layers.0.bias'],
    unexpected: ['extra'],
  });
  expect(values(model)[0]).toEqual(values(other)[0]);
  state.set('layers.0.weight', extra);
  expect(thrown(() => model.loadStateDict(state, { strict: false })).code).toBe(
    'CHECKPOINT_MISMATCH',
  );
  extra.dispose();
  model.dispose();
  other.dispose();
});

test('train and eval reach every submodule', () => {
  const dropout = new Dropout(0.5, new Generator(3));
  const model = new Sequential(new Sequential(dropout));
  const x = tensor(new Float32Array(1000).fill(1));
  const zerosIn = (data: ArrayLike<number>): number =>
    Array.from(data).filter((v) => v === 0).length;
  tidy(() => {
    const dropped = zerosIn(model.forward(x).dataSync());
    expect(dropped).toBeGreaterThan(400);
    expect(dropped).toBeLessThan(600);
    model.eval();
    expect(dropout.training).toBe(false);
    expect(zerosIn(model.forward(x).dataSync())).toBe(0);
    model.train();
    expect(dropout.training).toBe(true);
  });
  x.dispose();
});

test('parameters outlive a tidy; dispose gives all memory back, also twice', () => {
  const before = memory();
  const model = tidy(() => small());
  tidy(() =>
    model
      .forward(randn([3, 4]))
      .sum()
      .backward(),
  );
  expect(model.parameters().every((parameter) => parameter.grad !== null)).toBe(true);
  model.zeroGrad();
  expect(model.parameters().every((parameter) => parameter.grad === null)).toBe(true);
  model.dispose();
  model.dispose();
  expect(memory().tensors).toBe(before.tensors);
  expect(memory().bytes).toBe(before.bytes);
  expect(thrown(() => model.forward(zeros([1, 4]))).code).toBe('DISPOSED');
});
