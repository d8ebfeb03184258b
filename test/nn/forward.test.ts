import {
  CausalSelfAttention,
  createLinear,
  Embedding,
  Gate,
  GELU,
  LayerNorm,
  Linear,
  MoE,
  Sequential,
  auxLoss,
  type Module,
} from '../../lib/nn';
import { device, noGrad, tidy, zeros, type Tensor } from '../../lib/tensor';
import { codeOf, wrong } from '../support/errors';
import { expectMemoryBack, leftBy, NOTHING } from '../support/memory';

// Nothing here runs in a tidy: what a forward leaves behind is to be seen.

expectMemoryBack();

interface Layer extends Module {
  forward(x: Tensor): unknown;
}

const structures = [
  'dense',
  'btt:rank=2',
  'monarch',
  'low-rank',
  'kronecker',
  'tensor-train',
  '(0.5|0.25|0.25|0.25|0.5|0.25|0.25)',
  '(0.5|0.25|0.25|0.25|0.5|0.25|0.25):normalize=false',
  'btt-moe:experts=4,k=2',
  'dense-moe:experts=4,k=2',
  'low-rank-moe:experts=4,k=2',
];

const layers: [string, () => Layer][] = [
  ...structures.map((structure): [string, () => Layer] => [
    structure,
    () => createLinear(structure, 16, 16),
  ]),
  ['LayerNorm', () => new LayerNorm(16)],
  ['Gate', () => new Gate(16, 4, 2)],
  ['MoE', () => new MoE(16, { experts: 4, k: 2, hidden: 8, dropout: 0.1 })],
  ['CausalSelfAttention', () => new CausalSelfAttention(16, { heads: 2 })],
  ['with dropout', () => new CausalSelfAttention(16, { heads: 2, dropout: 0.1 })],
  ['of BTT-MoE', () => new CausalSelfAttention(16, { heads: 2, structure: 'btt-moe:k=2' })],
  ['Sequential', () => new Sequential(new Linear(16, 16), new GELU(), createLinear('btt', 16, 16))],
];

const disposed = (): Tensor => {
  const x = zeros([2, 3, 16]);
  x.dispose();
  return x;
};

describe.each(layers)('%s', (_name, create) => {
  let layer: Layer;
  beforeEach(() => (layer = create()));
  afterEach(() => layer.dispose());

  test.each<[string, () => Tensor, string]>([
    ['another width', () => zeros([2, 3, 5]), 'SHAPE_MISMATCH'],
    ['no axis', () => zeros([]), 'SHAPE_MISMATCH'],
    ['int32', () => zeros([2, 3, 16], { dtype: 'int32' }), 'DTYPE_MISMATCH'],
    ['a disposed tensor', disposed, 'DISPOSED'],
    ['nothing', () => wrong(undefined), 'INVALID_ARGUMENT'],
    ['null', () => wrong(null), 'INVALID_ARGUMENT'],
  ])('refuses %s and leaves nothing', (_what, make, code) => {
    const x = make();
    expect(leftBy(() => expect(codeOf(() => layer.forward(x))).toBe(code))).toEqual(NOTHING);
    x?.dispose();
  });

  test('refuses another device and leaves nothing', () => {
    const other = device('cpu', { threads: 1 });
    const x = zeros([2, 3, 16], { device: other });
    const call = () => layer.forward(x);
    expect(leftBy(() => expect(codeOf(call)).toBe('DEVICE_MISMATCH'))).toEqual(NOTHING);
    x.dispose();
    other.close();
  });

  test('refuses to run after it was disposed and leaves nothing', () => {
    const x = zeros([2, 3, 16]);
    layer.dispose();
    const call = () => layer.forward(x);
    expect(leftBy(() => expect(codeOf(call)).toBe('DISPOSED'))).toEqual(NOTHING);
    x.dispose();
  });

  test.each([true, false])('leaves nothing but its result (recorded: %s)', (recorded) => {
    const x = zeros([2, 3, 16]);
    const run = (): void => {
      const y = recorded ? layer.forward(x) : noGrad(() => layer.forward(x));
      for (const tensor of 'dispose' in Object(y) ? [y] : Object.values(y as object)) {
        (tensor as Tensor).dispose();
      }
    };
    run(); // a gate remembers its last forward
    expect(leftBy(run)).toEqual(NOTHING);
    x.dispose();
  });
});

test.each([[[16]], [[3, 16]], [[2, 3, 4, 16]], [[2, 3, 15]]])(
  'attention says which shape it takes, given %j',
  (shape) => {
    const layer = new CausalSelfAttention(16, { heads: 2 });
    const x = zeros(shape);
    expect(() => layer.forward(x)).toThrow(
      expect.objectContaining({
        code: 'SHAPE_MISMATCH',
        message: expect.stringMatching(/x .*dModel.*got/),
      }),
    );
    x.dispose();
    layer.dispose();
  },
);

test('a layer norm blames x, not its own gain', () => {
  const layer = new LayerNorm(16);
  const x = zeros([3, 5]);
  expect(() => layer.forward(x)).toThrow(
    'Expected the last axis of x to be width = 16, got shape [3, 5]',
  );
  x.dispose();
  layer.dispose();
});

test('an embedding refuses what is no list of ids', () => {
  const table = new Embedding(4, 2);
  const ids = zeros([3]);
  expect(codeOf(() => table.forward(ids))).toBe('DTYPE_MISMATCH');
  expect(codeOf(() => table.forward(wrong(undefined)))).toBe('INVALID_ARGUMENT');
  ids.dispose();
  table.dispose();
});

test('the auxiliary loss lives as long as the tidy that the forward ran in', () => {
  const layer = new Sequential(createLinear('btt-moe:experts=4,k=2', 16, 16));
  tidy(() => {
    layer.forward(zeros([3, 16]));
    const aux = auxLoss(layer)!;
    aux.backward();
    expect(aux.item()).toBeGreaterThan(0);
  });
  expect(() => auxLoss(layer)).toThrow(
    expect.objectContaining({
      code: 'DISPOSED',
      message: expect.stringContaining('in the tidy that the forward ran in'),
    }),
  );
  layer.dispose();
});
