import { linear, matmul, memory, ones, randn, tensor, tidy, zeros } from '../../lib/tensor';
import type { Tensor } from '../../lib/tensor';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

const counts = (): { tensors: number; bytes: number } => {
  const { tensors, bytes } = memory();
  return { tensors, bytes };
};

test('everything but the result is disposed', () => {
  const start = counts();
  const y = tidy(() => ones([10]).add(1).mul(2));
  expect(counts()).toEqual({ tensors: start.tensors + 1, bytes: start.bytes + 40 });
  expect(y.dataSync()[0]).toBe(4);
  y.dispose();
  expect(counts()).toEqual(start);
});

test('results may be nested in arrays, objects, maps and sets', () => {
  const start = counts();
  const result = tidy(() => ({
    list: [ones([1]), { deep: ones([2]) }],
    map: new Map([['a', ones([3])]]),
    set: new Set([ones([4])]),
    number: 3,
    nothing: null,
  }));
  expect(memory().tensors).toBe(start.tensors + 4);
  const cyclic = tidy(() => {
    const object: { x: Tensor; self?: unknown } = { x: ones([1]) };
    object.self = object;
    return object;
  });
  const [first, second] = result.list as [Tensor, { deep: Tensor }];
  [first, second.deep, ...result.map.values(), ...result.set, cyclic.x].forEach((each) => {
    expect(each.isDisposed).toBe(false);
    each.dispose();
  });
  expect(counts()).toEqual(start);
});

test('nested scopes pass results to the outer one', () => {
  const start = counts();
  tidy(() => {
    const inner = tidy(() => ones([3]).add(1));
    expect(inner.isDisposed).toBe(false);
    const before = memory().tensors;
    tidy(() => {
      ones([1]);
    });
    expect(memory().tensors).toBe(before);
    return 1;
  });
  expect(counts()).toEqual(start);
});

test('an exception disposes everything made', () => {
  const start = counts();
  expect(() =>
    tidy(() => {
      ones([5]).add(1);
      tidy(() => ones([2]));
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(counts()).toEqual(start);
});

test('kept tensors outlive every scope', () => {
  const start = counts();
  let kept: Tensor | undefined;
  tidy(() => {
    tidy(() => {
      kept = ones([2]).keep();
    });
  });
  expect(kept?.isDisposed).toBe(false);
  kept?.dispose();
  expect(counts()).toEqual(start);
});

test('a tensor from outside that is returned stays with its owner', () => {
  const x = ones([2]);
  expect(tidy(() => x)).toBe(x);
  tidy(() => {
    tidy(() => x);
  });
  expect(x.isDisposed).toBe(false);
  x.dispose();
});

test('asynchronous functions are refused, and what they made is disposed', () => {
  const start = counts();
  expect(() =>
    tidy(async () => {
      ones([2]);
      throw new Error('nobody waits');
    }),
  ).toThrow('Expected the function given to tidy to be synchronous');
  expect(counts()).toEqual(start);
});

test('use after dispose names the tensor', () => {
  const x = ones([2, 3]);
  x.name = 'layers.0.weight';
  x.dispose();
  x.dispose();
  expect(x.isDisposed).toBe(true);
  const expectDisposed = (call: () => unknown, message: string): void =>
    expect(call).toThrow(
      expect.objectContaining({ code: 'DISPOSED', message: expect.stringContaining(message) }),
    );
  const y = ones([2, 3]);
  expect(() => y.add(x)).toThrow(
    "Expected b to be a live tensor, got the tensor 'layers.0.weight' of shape [2, 3] that was disposed",
  );
  expectDisposed(() => linear(y, x), 'weight');
  expectDisposed(() => x.dataSync(), "'layers.0.weight' of shape [2, 3]");
  expectDisposed(() => x.reshape([6]), 'x');
  expectDisposed(() => x.detach(), 'layers.0.weight');
  expectDisposed(() => x.keep(), 'layers.0.weight');
  expectDisposed(() => x.backward(), 'layers.0.weight');
  expectDisposed(() => x.copyFrom(y), 'layers.0.weight');
  expectDisposed(() => y.copyFrom(x), 'layers.0.weight');
  y.dispose();
});

test('reading a disposed tensor rejects', async () => {
  const x = ones([2]);
  x.dispose();
  await expect(x.data()).rejects.toMatchObject({ code: 'DISPOSED' });
});

test('a read under way survives dispose', async () => {
  const x = tidy(() => ones([1000]).mul(3));
  const read = x.data();
  x.dispose();
  zeros([1000]).dispose();
  expect((await read).every((value) => value === 3)).toBe(true);
});

test('Symbol.dispose', () => {
  const x = ones([2]);
  x[Symbol.dispose]();
  expect(x.isDisposed).toBe(true);
});

test('calls that throw leave nothing allocated', () => {
  const a = zeros([2, 3], { requiresGrad: true });
  const start = counts();
  const bad = tensor([1, 2]);
  for (const call of [
    () => a.matmul(bad),
    () => a.add(bad),
    () => a.reshape([5]),
    () => a.crossEntropy(bad),
    () => a.slice(3, 0),
    () => matmul(a, a),
    () => randn([2, -1]),
  ]) {
    expect(call).toThrow(expect.objectContaining({ name: 'EinlinearError' }));
  }
  bad.dispose();
  expect(counts()).toEqual(start);
  a.dispose();
});

test('a failed allocation inside an op leaves nothing allocated', () => {
  const a = zeros([2 ** 20, 1]);
  const b = zeros([1, 2 ** 22]);
  const start = counts();
  expect(() => a.matmul(b)).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }));
  expect(counts()).toEqual(start);
  a.dispose();
  b.dispose();
});
