import * as fc from 'fast-check';

import {
  GPT,
  MLP,
  PixelTransformer,
  exportPaper,
  fromPaper,
  importPaper,
  paperEntries,
  sameLayout,
  toPaper,
  type PaperEntry,
} from '../../lib/models';
import { Linear, type Module } from '../../lib/nn';
import { Generator } from '../../lib/tensor';
import { forEachIndex, sizeOf } from '../support/arrays';
import { codeOf, wrong } from '../support/errors';
import { live } from '../support/memory';

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
  const seconds = [...exported.keys()].filter((paper) => paper.endsWith('.btt_layer.b'));
  const once = new Map([...exported].filter(([paper]) => !seconds.includes(paper)));
  const size = [...once.values()].reduce((sum, { data }) => sum + data.length, 0);
  expect(size).toBe(model.parameterCount());
  expect(new Set([...once.values()].flatMap(({ data }) => Array.from(data))).size).toBe(size);
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
  const held = live();
  state.delete('lm_head.weight');
  state.set('transformer.wte.weight', { shape: [1], data: new Float32Array(1) });
  state.set('transformer.nothing', { shape: [1], data: new Float32Array(1) });
  expect(() => importPaper(model, state)).toThrow(
    expect.objectContaining({
      code: 'CHECKPOINT_MISMATCH',
      details: {
        missing: ['lm_head.weight'],
        unexpected: ['transformer.nothing'],
        wrongShapes: [{ name: 'transformer.wte.weight', expected: [11, 12], got: [1] }],
        wrongValues: [],
      },
    }),
  );
  expect(model.parameters().map((p) => Array.from(p.dataSync()))).toEqual(before);
  expect(live()).toEqual(held);
  model.dispose();
});

test('the bias of a BTT-MoE layer has both of its names there; one is enough to read it', async () => {
  const [model, other] = [1, 2].map(gpt('btt-moe:experts=3,k=2,rounding=paper', true));
  fill(model);
  const state = await exportPaper(model);
  const seconds = [...state.keys()].filter((name) => name.endsWith('.btt_layer.b'));
  expect(seconds).toHaveLength(2 * 6);
  const names = [...state.keys()];
  for (const name of seconds) {
    const first = name.replace('.btt_layer.b', '.b');
    expect(state.get(name)).toEqual(state.get(first));
    expect(names.indexOf(name)).toBe(names.indexOf(first) + 1);
  }
  const [second, ...rest] = seconds;
  for (const name of rest) state.delete(name);
  importPaper(other, state);
  expect(other.parameters().map((p) => Array.from(p.dataSync()))).toEqual(
    model.parameters().map((p) => Array.from(p.dataSync())),
  );
  state.set(second, { shape: [1], data: new Float32Array(1) });
  expect(() => importPaper(other, state)).toThrow(second);
  model.dispose();
  other.dispose();
});

test.each([
  ['too few values', (shape: readonly number[]) => ({ shape, data: new Float32Array(3) })],
  ['too many values', (shape: readonly number[]) => ({ shape, data: new Float32Array(1000) })],
  ['no shape', () => ({ data: new Float32Array(132) })],
  ['null', () => null],
])('%s are reported and nothing changes', async (_what, make) => {
  const model = gpt('btt', false)(1);
  const state = await exportPaper(model);
  const before = model.parameters().map((p) => Array.from(p.dataSync()));
  for (const tensor of state.values()) tensor.data.fill(7);
  const name = 'transformer.h.1.mlp.c_proj.matrix_params.0';
  state.set(name, wrong(make(state.get(name)!.shape)));
  expect(() => importPaper(model, state)).toThrow(
    expect.objectContaining({
      code: 'CHECKPOINT_MISMATCH',
      details: expect.objectContaining({ wrongValues: [expect.objectContaining({ name })] }),
    }),
  );
  expect(model.parameters().map((p) => Array.from(p.dataSync()))).toEqual(before);
  model.dispose();
});

test('what is no model, and what is no state, is refused', async () => {
  const model = gpt('dense', false)(1);
  const state = await exportPaper(model);
  for (const value of [undefined, null, {}]) {
    expect(codeOf(() => importPaper(wrong(value), state))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => importPaper(model, wrong(value)))).toBe('INVALID_ARGUMENT');
    await expect(exportPaper(wrong(value))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  }
  model.dispose();
  expect(codeOf(() => importPaper(model, state))).toBe('DISPOSED');
  await expect(exportPaper(model)).rejects.toMatchObject({ code: 'DISPOSED' });
});

test('the event loop turns between the tensors of an export', async () => {
  const model = gpt('dense', false)(1);
  let turns = 0;
  let turnsWhenRead = 0;
  for (const parameter of model.parameters()) {
    const data = parameter.data.bind(parameter);
    parameter.data = async () => {
      const values = await data();
      turnsWhenRead = turns;
      return values;
    };
  }
  let next = setImmediate(function turn() {
    turns += 1;
    next = setImmediate(turn);
  });
  const { size } = await exportPaper(model);
  clearImmediate(next);
  expect(turns - turnsWhenRead).toBeGreaterThanOrEqual(size - 1);
  model.dispose();
});

describe('layouts', () => {
  // By the definition: index i of the published tensor is the permuted index of ours.
  const naive = ({ view, permutation, expert }: PaperEntry, values: Float32Array): number[] => {
    const shape = permutation.map((axis) => view[axis]);
    const out: number[] = [];
    const start = (expert ?? 0) * sizeOf(view);
    forEachIndex(shape, (index) => {
      const own = view.map((_, axis) => index[permutation.indexOf(axis)]);
      out.push(values[start + own.reduce((flat, i, axis) => flat * view[axis] + i, 0)]);
    });
    return out;
  };

  test('any permutation is read and written as its definition says', () => {
    const views = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
    const entries = views.chain((view) =>
      fc.record({
        view: fc.constant(view),
        permutation: fc.shuffledSubarray([...view.keys()], { minLength: view.length }),
        expert: fc.constantFrom(null, 0, 1, 2),
      }),
    );
    fc.assert(
      fc.property(entries, (layout) => {
        const entry: PaperEntry = { ...sameLayout('x', wrong({ shape: [], size: 1 })), ...layout };
        const values = Float32Array.from({ length: 3 * sizeOf(layout.view) }, (_, i) => i + 1);
        const published = toPaper(entry, values);
        expect(Array.from(published)).toEqual(naive(entry, values));
        const target = new Float32Array(values.length);
        fromPaper(entry, published, target);
        const own = new Set(published);
        expect(Array.from(target)).toEqual(Array.from(values, (v) => (own.has(v) ? v : 0)));
      }),
    );
  });
});

test('a model that the published code does not have is refused', () => {
  const layer = new Linear(2, 2);
  expect(() => paperEntries(layer)).toThrow('Expected a GPT, MLP or PixelTransformer, got Linear');
  layer.dispose();
});
