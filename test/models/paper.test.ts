import {
  GPT,
  MLP,
  PixelTransformer,
  exportPaper,
  importPaper,
  paperEntries,
} from '../../lib/models';
import { Linear, type Module } from '../../lib/nn';
import { Generator, memory } from '../../lib/tensor';

const gpt = (structure: string, bias: boolean) => (seed: number) =>
  new GPT(
    { vocabSize: 11, contextLength: 4, layers: 2, dModel: 12, headDim: 4, structure, bias },
    { generator: new Generator(seed) },
  );

const MODELS: [string, (seed: number) => Module][] = [
  ['dense GPT', gpt('dense', true)],
  ['GPT of BTT', gpt('btt:rank=2,rounding=paper', false)],
  ['GPT of BTT-MoE', gpt('btt-moe:experts=3,k=2,rounding=paper', true)],
  ['GPT of a generic θ', gpt('(0.5|0.25|0.25|0.25|0.5|0.25|0.25)', true)],
  ['GPT with mixtures', gpt('moe:experts=3,k=2', true)],
  ['GPT of mixtures of matrices', gpt('dense-moe:experts=3,k=2', true)],
  ['GPT of low-rank mixtures', gpt('low-rank-moe:experts=3,k=2', true)],
  [
    'MLP',
    (seed) =>
      new MLP(
        { dIn: 3, dOut: 2, depth: 2, width: 12, structure: 'monarch' },
        { generator: new Generator(seed) },
      ),
  ],
  [
    'PixelTransformer',
    (seed) =>
      new PixelTransformer(
        { imageSize: 2, depth: 1, width: 12, heads: 3, structure: 'tensor-train' },
        { generator: new Generator(seed) },
      ),
  ],
];

const fill = (model: Module): void => {
  let value = 0;
  for (const p of model.parameters())
    p.copyFrom(Float32Array.from({ length: p.size }, () => value++));
};

test.each(MODELS)('%s goes to the published layout and back without loss', async (_, create) => {
  const [model, other] = [create(1), create(2)];
  fill(model);
  const exported = await exportPaper(model);
  const size = [...exported.values()].reduce((sum, { data }) => sum + data.length, 0);
  expect(size).toBe(model.parameterCount());
  expect(new Set([...exported.values()].flatMap(({ data }) => Array.from(data))).size).toBe(size);
  for (const { shape, data } of exported.values()) {
    expect(data).toHaveLength(shape.reduce((product, s) => product * s, 1));
  }
  importPaper(other, exported);
  model.parameters().forEach((p, i) => {
    expect(Array.from(other.parameters()[i].dataSync())).toEqual(Array.from(p.dataSync()));
  });
  model.dispose();
  other.dispose();
});

test('a dense matrix is transposed', async () => {
  const model = gpt('dense', false)(1);
  const weight = new Map(model.namedParameters()).get('blocks.0.feedForward.up.weight')!;
  weight.copyFrom(Float32Array.from({ length: weight.size }, (_, i) => i));
  const exported = await exportPaper(model);
  const paper = exported.get('transformer.h.0.mlp.c_fc.matrix_params.0')!;
  expect(paper.shape).toEqual([12, 48]);
  expect(Array.from(paper.data.slice(0, 3))).toEqual([0, 12, 24]);
  model.dispose();
});

test('what is missing, unexpected or of another shape is reported and nothing changes', async () => {
  const model = gpt('btt-moe:experts=3,k=2,rounding=paper', true)(1);
  const state = await exportPaper(model);
  const before = model.parameters().map((p) => Array.from(p.dataSync()));
  const held = memory();
  state.delete('lm_head.weight');
  state.set('transformer.wte.weight', { shape: [1], data: new Float32Array(1) });
  state.set('transformer.nothing', { shape: [1], data: new Float32Array(1) });
  expect(() => importPaper(model, state)).toThrow(
    expect.objectContaining({
      code: 'CHECKPOINT_MISMATCH',
      details: {
        missing: ['lm_head.weight'],
        unexpected: ['transformer.nothing'],
        wrongShapes: ['transformer.wte.weight expected shape [11, 12], got [1]'],
      },
    }),
  );
  expect(model.parameters().map((p) => Array.from(p.dataSync()))).toEqual(before);
  expect(memory()).toEqual(held);
  model.dispose();
});

test('the second name of a bias there is no surprise', async () => {
  const model = gpt('btt-moe:experts=3,k=2,rounding=paper', true)(1);
  const state = await exportPaper(model);
  const name = 'transformer.h.0.attn.c_attn_q';
  state.set(`${name}.btt_layer.b`, state.get(`${name}.b`)!);
  expect(() => importPaper(model, state)).not.toThrow();
  model.dispose();
});

test('a model that the published code does not have is refused', () => {
  const layer = new Linear(2, 2);
  expect(() => paperEntries(layer)).toThrow('Expected a GPT, MLP or PixelTransformer, got Linear');
  layer.dispose();
});
