import { nn, parseStructure, setDefaultDevice, tensor, zeros } from '../../lib';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

// What a JavaScript caller can pass where the types would have said no.
const wrong = (value: unknown) => value as never;
const code = (call: () => unknown): unknown => {
  try {
    call();
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
  return 'no error';
};

test.each([{}, { kind: 'x' }, null, 5, undefined])('createLinear refuses structure %j', (value) => {
  expect(code(() => nn.createLinear(wrong(value), 16, 16))).toBe('INVALID_ARGUMENT');
});

test('parseStructure refuses what is not text', () => {
  expect(code(() => parseStructure(wrong(undefined)))).toBe('INVALID_ARGUMENT');
});

test('a device is not a name', () => {
  expect(code(() => zeros([2], { device: wrong('cuda') }))).toBe('INVALID_ARGUMENT');
  expect(code(() => setDefaultDevice(wrong('cpu')))).toBe('INVALID_ARGUMENT');
  zeros([2]).dispose();
});

test.each([{}, null, [1]])('loadStateDict refuses %j', (state) => {
  const layer = new nn.Linear(2, 2);
  expect(code(() => layer.loadStateDict(wrong(state)))).toBe('INVALID_ARGUMENT');
  layer.dispose();
});

test('item of a disposed tensor says that it was disposed', () => {
  const x = tensor([1, 2]);
  x.dispose();
  expect(code(() => x.item())).toBe('DISPOSED');
});
