import { GPT } from '../../lib/models';
import { BTTLinear, BTTMoELinear, MoE, MoELinear, type Module } from '../../lib/nn';
import { parameterGroups } from '../../lib/optim';

const groupsOf = (structure: string, dModel = 64): Map<string, [number, number]> => {
  const model = new GPT({
    vocabSize: 10,
    contextLength: 8,
    layers: 1,
    dModel,
    headDim: 16,
    structure,
    bias: true,
    base: { dModel: 128, feedForwardExpansion: 2 },
  });
  const groups = parameterGroups(model, { weightDecay: 0.1 });
  model.dispose();
  return new Map(groups.map((g) => [g.name, [g.lrMultiplier, g.weightDecay]]));
};

test('a dense layer scales with base fan-in over fan-in', () => {
  const groups = groupsOf('dense');
  const up = 'blocks.0.feedForward.up';
  expect(groups.get(`${up}.weight`)).toEqual([128 / 64, 0.1]);
  expect(groups.get(`${up}.bias`)).toEqual([1, 0]);
  expect(groups.get('blocks.0.feedForward.down.weight')).toEqual([256 / 256, 0.1]);
  expect(groups.get('blocks.0.attention.query.weight')).toEqual([2, 0.1]);
  expect(groups.get('blocks.0.norm1.weight')).toEqual([1, 0]);
  expect(groups.get('tokenEmbedding.weight')).toEqual([1, 0.1]);
  expect(groups.get('positionEmbedding.weight')).toEqual([1, 0.1]);
  expect(groups.get('head.weight')).toEqual([2, 0.1]);
});

test('a factor scales with its own fan-in as well', () => {
  const groups = groupsOf('btt-moe:experts=4,k=2');
  const query = 'blocks.0.attention.query';
  // 64 = 8 · 8: fan-in 8 of a slice in both factors, two factors, dense ratio 2.
  expect(groups.get(`${query}.a`)).toEqual([(64 / 8 / 2) * 2, 0.1]);
  expect(groups.get(`${query}.b`)).toEqual([(64 / 8 / 2) * 2, 0.1]);
  expect(groups.get(`${query}.gainA`)).toEqual([1, 0]);
  expect(groups.get(`${query}.gate.weight`)).toEqual([2, 0.1]);
});

test('stacked experts scale as one expert does, and their biases do not decay', () => {
  const groups = groupsOf('moe:experts=4,k=2');
  expect(groups.get('blocks.0.feedForward.up.weight')).toEqual([2, 0.1]);
  expect(groups.get('blocks.0.feedForward.up.bias')).toEqual([1, 0]);
  expect(groups.get('blocks.0.feedForward.gate.weight')).toEqual([2, 0.1]);
});

test('the width that was tuned has the structure multipliers alone', () => {
  const layer = new BTTLinear(64, 256, { rank: 2 });
  const multipliers = parameterGroups(layer).map((g) => [g.name, g.lrMultiplier]);
  expect(multipliers.slice(0, 2)).toEqual([
    ['a', layer.plan.a.adamMultiplier],
    ['b', layer.plan.b.adamMultiplier],
  ]);
  layer.dispose();
});

test('SGD scales with fan-out over fan-in', () => {
  const base = { fanIn: 32, fanOut: 32 };
  const layer = new BTTLinear(64, 256, { baseFans: base, bias: false });
  const [a, b] = parameterGroups(layer, { optimizer: 'sgd' });
  const dense = 256 / 64 / (32 / 32);
  expect(a.lrMultiplier).toBeCloseTo(layer.plan.a.sgdMultiplier * dense, 12);
  expect(b.lrMultiplier).toBeCloseTo(layer.plan.b.sgdMultiplier * dense, 12);
  layer.dispose();
});

test('the gate of a structured layer scales with that layer, that of a mixture of blocks with its own', () => {
  const baseFans = { fanIn: 768, fanOut: 768 };
  const gateOf = (layer: Module, optimizer: 'adam' | 'sgd'): number => {
    const group = parameterGroups(layer, { optimizer }).find(({ name }) => name === 'gate.weight');
    return group!.lrMultiplier;
  };
  const layers = [
    new BTTMoELinear(64, 256, { experts: 4, baseFans }),
    new MoELinear(64, 256, { experts: 4, baseFans }),
    new MoELinear(64, 256, { experts: 4, expert: 'low-rank', baseFans }),
  ];
  for (const layer of layers) {
    expect(gateOf(layer, 'sgd')).toBeCloseTo(256 / 64, 12);
    expect(gateOf(layer, 'adam')).toBeCloseTo(768 / 64, 12);
    layer.dispose();
  }
  // A gate [64 → 4] against [768 → 4] in the base model.
  const blocks = new MoE(64, { experts: 4, baseFans });
  expect(gateOf(blocks, 'sgd')).toBeCloseTo(768 / 64, 12);
  expect(gateOf(blocks, 'adam')).toBeCloseTo(768 / 64, 12);
  blocks.dispose();
});

test('a decay that is negative is refused', () => {
  const layer = new BTTLinear(4, 4);
  expect(() => parameterGroups(layer, { weightDecay: -1 })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
  layer.dispose();
});
