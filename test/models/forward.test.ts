import { GPT, MLP, PixelTransformer, type GPTConfig } from '../../lib/models';
import { device, noGrad, randn, tensor, tidy, zeros, type Tensor } from '../../lib/tensor';
import { codeOf, wrong } from '../support/errors';
import { expectMemoryBack, leftBy, NOTHING } from '../support/memory';

// Nothing here runs in a tidy: what a forward or a loss leaves behind is to be seen.

expectMemoryBack();

const GPT_CONFIG: GPTConfig = { vocabSize: 8, contextLength: 4, layers: 2, dModel: 16, heads: 2 };

const ids = (...rows: number[][]): Tensor => tensor(rows, { dtype: 'int32' });

interface Model {
  forward(x: Tensor): Tensor;
  loss(x: Tensor, target: Tensor): { total: Tensor; auxiliary: Tensor | null };
  dispose(): void;
}

interface Case {
  create: () => Model;
  /** An input and a target that the model takes. */
  good: [() => Tensor, () => Tensor];
  /** Inputs that it refuses, with the code of the error. */
  badInputs: [string, () => Tensor, string][];
  /** Targets that it refuses beside the good input. */
  badTargets: [string, () => Tensor, string][];
}

const elsewhere = device('cpu', { threads: 1 });
afterAll(() => elsewhere.close());

const gpt = (config: Partial<GPTConfig>): Case => ({
  create: () => new GPT({ ...GPT_CONFIG, ...config }),
  good: [() => ids([0, 1]), () => ids([1, -1])],
  badInputs: [
    ['an id too large', () => ids([0, 8]), 'OUT_OF_RANGE'],
    ['a negative id', () => ids([0, -1]), 'OUT_OF_RANGE'],
    ['floats', () => zeros([1, 2]), 'DTYPE_MISMATCH'],
    ['one axis', () => zeros([2], { dtype: 'int32' }), 'SHAPE_MISMATCH'],
    ['too long a sequence', () => zeros([1, 5], { dtype: 'int32' }), 'OUT_OF_RANGE'],
    [
      'another device',
      () => zeros([1, 2], { dtype: 'int32', device: elsewhere }),
      'DEVICE_MISMATCH',
    ],
    ['nothing', () => wrong(undefined), 'INVALID_ARGUMENT'],
  ],
  badTargets: [
    ['a class too large', () => ids([0, 8]), 'OUT_OF_RANGE'],
    ['a class below −1', () => ids([0, -2]), 'OUT_OF_RANGE'],
    ['floats', () => zeros([1, 2]), 'DTYPE_MISMATCH'],
    ['another shape', () => ids([0, 1, 2]), 'SHAPE_MISMATCH'],
    ['null', () => wrong(null), 'INVALID_ARGUMENT'],
  ],
});

const mlp = (structure: string, permutation: number[] | null): Case => ({
  create: () => new MLP({ dIn: 4, dOut: 2, depth: 1, width: 16, structure, permutation }),
  good: [() => zeros([3, 4]), () => zeros([3, 2])],
  badInputs: [
    ['another width', () => zeros([3, 5]), 'SHAPE_MISMATCH'],
    ['no axis', () => zeros([]), 'SHAPE_MISMATCH'],
    ['integers', () => zeros([3, 4], { dtype: 'int32' }), 'DTYPE_MISMATCH'],
    ['another device', () => zeros([3, 4], { device: elsewhere }), 'DEVICE_MISMATCH'],
    ['nothing', () => wrong(undefined), 'INVALID_ARGUMENT'],
  ],
  badTargets: [
    ['another width', () => zeros([3, 3]), 'SHAPE_MISMATCH'],
    ['other rows', () => zeros([2, 2]), 'SHAPE_MISMATCH'],
    ['null', () => wrong(null), 'INVALID_ARGUMENT'],
  ],
});

const pixels = (structure: string): Case => ({
  create: () =>
    new PixelTransformer({
      imageSize: 2,
      channels: 2,
      vocabSize: 8,
      depth: 1,
      width: 16,
      heads: 2,
      structure,
    }),
  good: [() => zeros([1, 2, 2, 2], { dtype: 'int32' }), () => wrong(undefined)],
  badInputs: [
    ['a number too many', () => zeros([1, 9], { dtype: 'int32' }), 'SHAPE_MISMATCH'],
    ['other axes', () => zeros([1, 2, 4, 1], { dtype: 'int32' }), 'SHAPE_MISMATCH'],
    ['a value too large', () => ids([0, 1, 2, 3, 4, 5, 6, 8]), 'OUT_OF_RANGE'],
    ['floats', () => zeros([1, 8]), 'DTYPE_MISMATCH'],
    ['nothing', () => wrong(undefined), 'INVALID_ARGUMENT'],
  ],
  badTargets: [],
});

const cases: [string, Case][] = [
  ['GPT', gpt({})],
  ['GPT with dropout and tied head', gpt({ dropout: 0.1, tiedHead: true, bias: true })],
  ['GPT of BTT', gpt({ structure: 'btt:rank=2' })],
  ['GPT of BTT-MoE', gpt({ structure: 'btt-moe:experts=4,k=2' })],
  ['GPT with mixtures', gpt({ structure: 'moe:experts=4,k=2' })],
  ['MLP', mlp('dense', null)],
  ['MLP of BTT-MoE', mlp('btt-moe:experts=4,k=2', null)],
  ['MLP with a permutation', mlp('btt', [3, 1, 0, 2])],
  ['PixelTransformer', pixels('dense')],
  ['PixelTransformer of BTT-MoE', pixels('btt-moe:experts=4,k=2')],
];

describe.each(cases)('%s', (_name, { create, good, badInputs, badTargets }) => {
  let model: Model;
  beforeEach(() => (model = create()));
  afterEach(() => model.dispose());

  const [input, target] = good;
  const refuses = (call: (x: Tensor, y: Tensor) => void, x: Tensor, y: Tensor, code: string) => {
    expect(leftBy(() => expect(codeOf(() => call(x, y))).toBe(code))).toEqual(NOTHING);
    x?.dispose();
    y?.dispose();
  };

  test.each(badInputs)('refuses %s and leaves nothing', (_what, make, code) => {
    refuses((x) => model.forward(x), make(), target(), code);
    refuses((x, y) => model.loss(x, y), make(), target(), code);
  });

  if (badTargets.length > 0) {
    test.each(badTargets)('refuses as target %s and leaves nothing', (_what, make, code) => {
      refuses((x, y) => model.loss(x, y), input(), make(), code);
    });
  }

  test.each([true, false])('leaves nothing but its results (recorded: %s)', (recorded) => {
    const [x, y] = [input(), target()];
    const run = (): void => {
      const call = () => {
        const { total, auxiliary, ...parts } = model.loss(x, y);
        return [model.forward(x), total, auxiliary, ...Object.values(parts)];
      };
      for (const result of recorded ? call() : noGrad(call)) (result as Tensor | null)?.dispose();
    };
    run(); // gates remember their last forward
    expect(leftBy(run)).toEqual(NOTHING);
    x.dispose();
    y?.dispose();
  });
});

test('the parts of models refuse what is no tensor', () => {
  const models = [
    new GPT(GPT_CONFIG),
    new MLP({ dIn: 4, dOut: 2, depth: 1, width: 16 }),
    new PixelTransformer({ imageSize: 2, depth: 1, width: 16, heads: 2 }),
  ];
  for (const model of models) {
    const [block] = model.blocks;
    expect(codeOf(() => block.forward(wrong(undefined)))).toBe('INVALID_ARGUMENT');
    model.dispose();
  }
});

test('a permutation leaves any leading axes, empty ones too', () => {
  const config = { dIn: 4, dOut: 2, depth: 1, width: 16 };
  const model = new MLP({ ...config, permutation: [3, 1, 0, 2] });
  model.head.weight.copyFrom(new Float32Array(32).fill(0.1));
  tidy(() => {
    const x = randn([2, 3, 4]);
    const rows = model.forward(x.reshape([6, 4]));
    expect(Array.from(model.forward(x).dataSync())).toEqual(Array.from(rows.dataSync()));
    expect(model.forward(x).shape).toEqual([2, 3, 2]);
    expect(model.forward(zeros([4])).shape).toEqual([2]);
    expect(model.forward(zeros([0, 4])).shape).toEqual([0, 2]);
  });
  model.dispose();
});
