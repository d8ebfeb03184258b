import { FeedForward, nn, parseStructure, setDefaultDevice, tensor, zeros } from '../../lib';
import { codeOf, wrong } from '../support/errors';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

test.each([{}, { kind: 'x' }, null, 5, undefined])('createLinear refuses structure %j', (value) => {
  expect(codeOf(() => nn.createLinear(wrong(value), 16, 16))).toBe('INVALID_ARGUMENT');
});

test.each([null, undefined, 5, { kind: 'einsum', theta: null }])(
  'EinsumLinear refuses %j',
  (value) => {
    expect(codeOf(() => new nn.EinsumLinear(wrong(value), 8, 8))).toBe('INVALID_THETA');
  },
);

test('a choice that is none of those offered is refused', () => {
  const theta = '(0.5|0|0.5|0|0.5|0.5|0)';
  const rounding = wrong('divisor');
  const refused: (() => unknown)[] = [
    () => new nn.EinsumLinear(theta, 768, 768, { rounding }),
    () => new nn.BTTLinear(768, 768, { rounding }),
    () => new nn.MonarchLinear(768, 768, { rounding }),
    () => new nn.BTTMoELinear(768, 768, { experts: 2, rounding }),
    () => nn.createLinear({ kind: 'btt', rank: 1, normalize: true, gains: true, rounding }, 8, 8),
    () => new nn.MoELinear(8, 8, { experts: 2, k: 1, expert: wrong('bogus') }),
  ];
  expect(refused.map(codeOf)).toEqual(refused.map(() => 'INVALID_ARGUMENT'));
});

test('layers that need options say so', () => {
  const missing = wrong(undefined);
  const refused: (() => unknown)[] = [
    () => new nn.BTTMoELinear(8, 8, missing),
    () => new nn.MoELinear(8, 8, missing),
    () => new nn.MoE(8, missing),
    () => new nn.CausalSelfAttention(8, missing),
    () => new FeedForward(8, missing),
  ];
  for (const call of refused)
    expect(call).toThrow('Expected options to be an object, got undefined');
});

test('parseStructure refuses what is not text', () => {
  expect(codeOf(() => parseStructure(wrong(undefined)))).toBe('INVALID_ARGUMENT');
});

test('a device is not a name', () => {
  expect(codeOf(() => zeros([2], { device: wrong('cuda') }))).toBe('INVALID_ARGUMENT');
  expect(codeOf(() => setDefaultDevice(wrong('cpu')))).toBe('INVALID_ARGUMENT');
  zeros([2]).dispose();
});

test.each([{}, null, [1]])('loadStateDict refuses %j', (state) => {
  const layer = new nn.Linear(2, 2);
  expect(codeOf(() => layer.loadStateDict(wrong(state)))).toBe('INVALID_ARGUMENT');
  layer.dispose();
});

test('item of a disposed tensor says that it was disposed', () => {
  const x = tensor([1, 2]);
  x.dispose();
  expect(codeOf(() => x.item())).toBe('DISPOSED');
});
