import { CausalSelfAttention } from '../../lib/nn';
import { Generator, randn, tensor, tidy } from '../../lib/tensor';
import { live } from '../support/memory';

const create = (options: Partial<ConstructorParameters<typeof CausalSelfAttention>[1]> = {}) =>
  new CausalSelfAttention(16, { heads: 2, generator: new Generator(1), ...options });

test('keeps the shape and sees nothing of the future', () => {
  const layer = create();
  tidy(() => {
    const x = randn([2, 5, 16], { generator: new Generator(2) });
    const before = layer.forward(x);
    expect(before.shape).toEqual([2, 5, 16]);
    const values = x.dataSync();
    values.fill(9, 3 * 16, 4 * 16); // token 3 of the first sequence
    const after = layer.forward(tensor(values, { shape: [2, 5, 16] })).dataSync();
    const changed = new Set<number>();
    before.dataSync().forEach((v, i) => {
      if (v !== after[i]) changed.add(Math.floor(i / 16));
    });
    expect([...changed]).toEqual([3, 4]);
  });
  layer.dispose();
});

test.each([
  ['muP', 1],
  ['standard', 1 / Math.sqrt(8)],
  [0.3, 0.3],
] as const)('scale %s', (scale, expected) => {
  const layer = create({ scale });
  expect(layer.scale).toBe(expected);
  layer.dispose();
});

test('the written-out form with dropout agrees with the fused op', () => {
  // So small a probability drops nothing.
  const plain = create({ scale: 'standard', qkNorm: false });
  const written = create({ scale: 'standard', qkNorm: false, dropout: 1e-9 });
  tidy(() => {
    const x = randn([2, 6, 16], { generator: new Generator(3), requiresGrad: true });
    const other = randn([2, 6, 16], { generator: new Generator(3), requiresGrad: true });
    const [y, z] = [plain.forward(x), written.forward(other)];
    const [a, b] = [y.dataSync(), z.dataSync()];
    a.forEach((v, i) => expect(b[i]).toBeCloseTo(v, 5));
    y.square().sum().backward();
    z.square().sum().backward();
    const [da, db] = [x.grad!.dataSync(), other.grad!.dataSync()];
    da.forEach((v, i) => expect(db[i]).toBeCloseTo(v, 3));
  });
  written.eval();
  plain.dispose();
  written.dispose();
});

test('options decide which parameters there are', () => {
  const names = (options: Parameters<typeof create>[0]): string[] => {
    const layer = create(options);
    layer.dispose();
    return layer.namedParameters().map(([name]) => name);
  };
  expect(names({})).toEqual([
    'value.weight',
    'query.weight',
    'key.weight',
    'output.weight',
    'queryNorm.weight',
    'keyNorm.weight',
  ]);
  expect(names({ qkNorm: false, bias: true, outputBias: false })).toEqual([
    'value.weight',
    'value.bias',
    'query.weight',
    'query.bias',
    'key.weight',
    'key.bias',
    'output.weight',
  ]);
  // Gains mean nothing in front of a norm.
  expect(names({ structure: 'btt' }).filter((name) => name.includes('gain'))).toEqual([
    'value.gainA',
    'value.gainB',
    'output.gainA',
    'output.gainB',
  ]);
  expect(names({ structure: 'btt', qkNorm: false }).filter((n) => n.includes('gain'))).toHaveLength(
    8,
  );
});

test('each projection can have its own structure', () => {
  const layer = create({
    structure: { query: 'btt', key: 'low-rank', value: 'dense', output: 'kronecker' },
  });
  expect(layer.macsPerToken(10)).toBe(
    layer.query.macsPerToken +
      layer.key.macsPerToken +
      layer.value.macsPerToken +
      layer.output.macsPerToken +
      2 * 10 * 16,
  );
  layer.dispose();
});

test('refuses heads that do not divide the width', () => {
  const before = live();
  expect(() => create({ heads: 3 })).toThrow(
    'Expected dModel to be a multiple of heads (3), got 16',
  );
  expect(() => create({ scale: NaN })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
  expect(() => create({ structure: 'nothing' })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
  expect(live()).toEqual(before);
});
