import { GPT, GPT2, resolveGPTConfig, type GPTConfig } from '../../lib/models';
import { AdamW, clipGradNorm } from '../../lib/optim';
import { Generator, tensor, tidy } from '../../lib/tensor';
import { codeOf, wrong } from '../support/errors';
import { live } from '../support/memory';

const TINY: GPTConfig = { vocabSize: 20, contextLength: 8, layers: 2, dModel: 16, headDim: 8 };

const STRUCTURES = [
  'dense',
  'btt:rank=2',
  'btt-moe:experts=4,k=2',
  'moe:experts=4,k=2',
  'low-rank-moe:experts=4,k=2',
  '(0.5|0.25|0.25|0.25|0.5|0.25|0):rounding=paper',
];

const batch = (shape: [number, number] = [3, 8]) =>
  tensor(
    Int32Array.from({ length: shape[0] * shape[1] }, (_, i) => (i * 7) % 20),
    { shape },
  );

describe.each(STRUCTURES)('%s', (structure) => {
  test('starts at the uniform distribution and learns a batch by heart', () => {
    const before = live();
    const model = new GPT({ ...TINY, structure }, { generator: new Generator(1) });
    const optimizer = new AdamW(model, { lr: 2e-3, weightDecay: 0 });
    const step = (): number =>
      tidy(() => {
        const { total, crossEntropy, auxiliary } = model.loss(batch(), batch());
        expect(auxiliary !== null).toBe(structure.includes('moe'));
        model.zeroGrad();
        total.backward();
        const { scale } = clipGradNorm(model.parameters(), 1);
        optimizer.step({ gradScale: scale });
        return crossEntropy.item();
      });
    const first = step();
    expect(first).toBeCloseTo(Math.log(20), 5);
    let last = first;
    for (let i = 0; i < 40; i++) last = step();
    expect(last).toBeLessThan(0.5 * first);
    optimizer.dispose();
    model.dispose();
    const after = live();
    expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
  });
});

test('two runs give the same bits', () => {
  const run = (): number[] => {
    const generator = new Generator(1);
    const dropoutGenerator = new Generator(2);
    const config = { ...TINY, structure: 'btt-moe:experts=4,k=2', dropout: 0.1 };
    const model = new GPT(config, { generator, dropoutGenerator });
    const optimizer = new AdamW(model, { lr: 1e-3 });
    const losses = Array.from({ length: 5 }, () =>
      tidy(() => {
        const { total } = model.loss(batch(), batch());
        model.zeroGrad();
        total.backward();
        optimizer.step();
        return total.item();
      }),
    );
    optimizer.dispose();
    model.dispose();
    return losses;
  };
  expect(run()).toEqual(run());
});

test('a shorter sequence is the start of a longer one', () => {
  const model = new GPT(TINY, { generator: new Generator(1) });
  tidy(() => {
    const long = model.forward(batch([1, 8])).dataSync();
    const short = model.forward(batch([1, 5])).dataSync();
    short.forEach((v, i) => expect(v).toBeCloseTo(long[i], 5));
    expect(model.forward(batch([0, 8])).shape).toEqual([0, 8, 20]);
  });
  model.dispose();
});

test('targets of −1 do not count', () => {
  const model = new GPT(TINY);
  tidy(() => {
    const targets = new Int32Array(24).fill(-1);
    targets[5] = 3;
    const { crossEntropy } = model.loss(batch(), tensor(targets, { shape: [3, 8] }));
    expect(crossEntropy.item()).toBeCloseTo(Math.log(20), 5);
  });
  model.dispose();
});

test('GPT-2 is a configuration', () => {
  const model = new GPT({ ...TINY, ...GPT2 });
  const names = model.namedParameters().map(([name]) => name);
  expect(model.head).toBeNull();
  expect(names).not.toContain('head.weight');
  expect(names).not.toContain('blocks.0.attention.queryNorm.weight');
  expect(names).toContain('blocks.0.attention.query.bias');
  expect(names).toContain('finalNorm.bias');
  expect(model.blocks[0].attention.scale).toBeCloseTo(1 / Math.sqrt(8));
  // 12·d² weights and 13·d biases and norms a block, the final norm, the two tables.
  expect(model.parameterCount()).toBe(2 * (12 * 256 + 13 * 16) + 2 * 16 + 28 * 16);
  tidy(() => {
    model.loss(batch(), batch()).total.backward();
    expect(model.parameters().every((p) => p.grad !== null)).toBe(true);
  });
  model.dispose();
});

test('layers can differ in structure, and in size from the width', () => {
  const model = new GPT({
    ...TINY,
    heads: 3,
    structure: 'dense',
    structures: {
      up: 'btt',
      down: 'low-rank:rank=2',
      attentionOutput: 'kronecker',
      head: 'monarch',
    },
  });
  const { attention, feedForward } = model.blocks[0];
  expect(attention.query.constructor.name).toBe('Linear');
  expect(attention.output.constructor.name).toBe('KroneckerLinear');
  expect([attention.output.dIn, attention.output.dOut]).toEqual([24, 16]);
  expect('up' in feedForward && feedForward.up.constructor.name).toBe('BTTLinear');
  expect(model.head!.constructor.name).toBe('MonarchLinear');
  tidy(() => expect(model.forward(batch()).shape).toEqual([3, 8, 20]));
  model.dispose();
});

test('counts multiply-accumulates as the paper does', () => {
  const count = (structure: string) => {
    const model = new GPT({ ...TINY, structure });
    model.dispose();
    return model.macsPerToken();
  };
  const dense = { linear: 2 * 12 * 256, attention: 2 * 2 * 8 * 16, head: 16 * 20 };
  expect(count('dense')).toEqual({
    ...dense,
    nonEmbedding: dense.linear + dense.attention,
    total: dense.linear + dense.attention + dense.head,
  });
  // Two experts of four: twice the dense feed-forward, and the gate.
  expect(count('moe:experts=4,k=2').linear).toBe(2 * (4 * 256 + 2 * 8 * 256 + 4 * 16));
  // 16 = 4·4 and 64 = 8·8, twice a rank-1 BTT, and gates.
  const slice = (dIn: number, dOut: number) => dIn * Math.sqrt(dOut) + Math.sqrt(dIn) * dOut;
  expect(count('btt-moe:experts=4,k=2').linear).toBe(
    2 * (4 * (2 * slice(16, 16) + 64) + 2 * slice(16, 64) + 64 + 2 * slice(64, 16) + 4 * 64),
  );
});

test('parameters without the embeddings', () => {
  const model = new GPT(TINY);
  expect(model.nonEmbeddingParameterCount()).toBe(model.parameterCount() - (20 + 8) * 16);
  model.dispose();
});

test('defaults are those of the paper', () => {
  expect(resolveGPTConfig(TINY)).toEqual({
    ...TINY,
    heads: 2,
    feedForwardExpansion: 4,
    structure: 'dense',
    structures: {},
    bias: false,
    qkNorm: true,
    attentionScale: 'muP',
    gelu: 'none',
    tiedHead: false,
    branchMultiplier: Math.sqrt(3 / 2),
    dropout: 0,
    auxLossWeight: 0.01,
    base: { dModel: 768, feedForwardExpansion: 1 },
  });
  const resolved = resolveGPTConfig(TINY);
  expect(resolveGPTConfig(JSON.parse(JSON.stringify(resolved)) as GPTConfig)).toEqual(resolved);
});

test.each([
  [{ vocabSize: 0 }, 'vocabSize'],
  [{ layers: 1.5 }, 'layers'],
  [{ dModel: NaN }, 'dModel'],
  [{ headDim: undefined }, 'heads or headDim'],
  [{ headDim: 7 }, 'heads and headDim'],
  [{ dropout: 1 }, 'dropout'],
  [{ gelu: 'erf' }, 'gelu'],
  [{ attentionScale: 'big' }, 'attentionScale'],
  [{ auxLossWeight: -1 }, 'auxLossWeight'],
  [{ feedForwardExpansion: 0.1 }, 'feedForwardExpansion'],
  [{ structure: 'unknown' }, 'structure'],
  [{ structures: { up: 'moe' } }, 'structures.up'],
  [{ structures: { queries: 'dense' } }, 'queries'],
  [{ structure: 'moe', structures: { up: 'btt' } }, 'structures'],
  [{ tiedHead: true, structures: { head: 'btt' } }, 'structures.head'],
  [{ base: { dModel: 0, feedForwardExpansion: 1 } }, 'base.dModel'],
  [{ width: 3 }, 'width'],
  [{ qkNorm: 'no' }, 'qkNorm'],
  [{ bias: 'false' }, 'bias'],
  [{ tiedHead: 1 }, 'tiedHead'],
  [{ structures: null }, 'structures'],
  [{ structure: null }, 'structure'],
])('refuses %j', (change, name) => {
  const before = live();
  const config = { ...TINY, ...change } as GPTConfig;
  expect(() => new GPT(config)).toThrow(
    expect.objectContaining({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(name),
    }),
  );
  expect(live()).toEqual(before);
});

test('refuses what is no configuration, and k beyond the experts', () => {
  for (const config of [undefined, null, [], 'tiny']) {
    expect(codeOf(() => new GPT(wrong(config)))).toBe('INVALID_ARGUMENT');
  }
  for (const kind of ['moe', 'btt-moe', 'dense-moe', 'low-rank-moe']) {
    const structure = `${kind}:experts=2,k=3`;
    expect(codeOf(() => new GPT({ ...TINY, structure }))).toBe('OUT_OF_RANGE');
  }
});

test('a size that cannot be factored leaves nothing allocated', () => {
  const before = live();
  const config = {
    ...TINY,
    dModel: 48,
    headDim: 16,
    structures: { down: '(0.25|0|0.75|0|0.75|0.25|0):rounding=paper' },
  };
  expect(() => new GPT({ ...config, dModel: 36, headDim: 12, feedForwardExpansion: 1 })).toThrow(
    expect.objectContaining({ code: 'NOT_FACTORABLE' }),
  );
  const after = live();
  expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
});

test('bad input is refused at the call', () => {
  const model = new GPT(TINY);
  const before = live();
  tidy(() => {
    expect(() => model.forward(batch([1, 9]))).toThrow(
      'Expected sequences of at most 8 tokens (contextLength), got 9',
    );
    expect(() => model.forward(tensor(new Int32Array(3)))).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
    expect(() => model.forward(tensor([[0.5, 1]]))).toThrow(
      expect.objectContaining({ code: 'DTYPE_MISMATCH' }),
    );
    expect(() => model.forward(tensor(Int32Array.of(1, 20), { shape: [1, 2] }))).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
  });
  const after = live();
  expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
  model.dispose();
});

test('statistics of every gate by name', async () => {
  const model = new GPT({ ...TINY, structure: 'btt-moe:experts=4,k=2' });
  tidy(() => model.forward(batch()));
  const statistics = await model.gateStatistics();
  expect(statistics).toHaveLength(12);
  expect(statistics[0].name).toBe('blocks.0.attention.value.gate');
  expect(statistics[0].perplexity).toBeCloseTo(4, 3);
  expect(statistics[0].usage.reduce((sum, v) => sum + v)).toBeCloseTo(1, 5);
  model.dispose();
});
