import { crossEntropy, device, memory, noGrad, ones, tensor, tidy, zeros } from '../../lib/tensor';
import type { Tensor } from '../../lib/tensor';
import { expectMemoryBack } from '../support/memory';
import { codeOf, wrong } from '../support/errors';

expectMemoryBack();

const values = (x: Tensor | null): number[] => [...(x?.dataSync() ?? [])];

test('gradients accumulate until they are cleared', () => {
  tidy(() => {
    const x = tensor([1, 2], { requiresGrad: true });
    x.square().sum().backward();
    expect(values(x.grad)).toEqual([2, 4]);
    const { grad } = x;
    x.square().sum().backward();
    expect(values(x.grad)).toEqual([4, 8]);
    expect(x.grad).toBe(grad);
    x.zeroGrad();
    expect(x.grad).toBeNull();
    expect(grad?.isDisposed).toBe(true);
    x.sum().backward();
    expect(values(x.grad)).toEqual([1, 1]);
  });
});

test('a value used in many places', () => {
  tidy(() => {
    const x = tensor([3], { requiresGrad: true });
    const y = x.add(x).mul(x).sub(x); // 2x² − x
    y.add(y).sum().backward();
    expect(values(x.grad)).toEqual([2 * (4 * 3 - 1)]);
  });
});

test('leaves that share an incoming gradient do not share memory', () => {
  tidy(() => {
    const [a, b] = [ones([2], { requiresGrad: true }), ones([2], { requiresGrad: true })];
    a.add(b).sum().backward();
    a.add(1).sum().backward();
    expect(values(a.grad)).toEqual([2, 2]);
    expect(values(b.grad)).toEqual([1, 1]);
  });
});

test('the gradient given to backward is not changed', () => {
  tidy(() => {
    const x = ones([2], { requiresGrad: true });
    const dy = tensor([1, 2]);
    const y = x.reshape([1, 2]).reshape([2]);
    y.backward(dy);
    x.mul(5).sum().backward();
    expect(values(dy)).toEqual([1, 2]);
    expect(values(x.grad)).toEqual([6, 7]);
  });
});

test('backward from a leaf itself', () => {
  tidy(() => {
    const x = tensor([2], { requiresGrad: true });
    x.backward();
    x.backward();
    expect(values(x.grad)).toEqual([2]);
  });
});

test('user handles may be disposed before backward', () => {
  tidy(() => {
    const x = tensor([1, 2], { requiresGrad: true });
    const w = tensor([3, 4]);
    const y = x.mul(w);
    w.dispose();
    const z = y.exp();
    y.dispose();
    const loss = z.sum();
    z.dispose();
    loss.backward();
    const [a, b] = values(x.grad);
    expect(a).toBeCloseTo(3 * Math.exp(3), 3);
    expect(b).toBeCloseTo(4 * Math.exp(8), 1);
  });
});

test('a leaf disposed before backward is passed over', () => {
  tidy(() => {
    const [x, w] = [ones([2], { requiresGrad: true }), ones([2], { requiresGrad: true })];
    const loss = x.mul(w).sum();
    x.dispose();
    loss.backward();
    expect(values(w.grad)).toEqual([1, 1]);
  });
});

test('backward frees what was saved, and works once', () => {
  const x = ones([100, 100], { requiresGrad: true });
  const start = memory();
  const loss = tidy(() => x.exp().tanh().mul(x).sum());
  expect(memory().bytes).toBeGreaterThan(start.bytes + 2 * 40_000);
  loss.backward();
  x.zeroGrad();
  expect(memory().bytes).toBe(start.bytes + 4);
  expect(() => loss.backward()).toThrow(
    expect.objectContaining({
      code: 'DISPOSED',
      message: expect.stringContaining('backward has not passed yet'),
    }),
  );
  loss.dispose();
  x.dispose();
});

test('a graph that is dropped without backward frees what it saved', () => {
  const x = ones([100, 100], { requiresGrad: true });
  const start = memory();
  const loss = tidy(() => x.exp().tanh().mul(x).sum());
  loss.dispose();
  expect(memory()).toMatchObject({ tensors: start.tensors, bytes: start.bytes });
  x.dispose();
});

test('a second result of a consumed graph is refused before anything changes', () => {
  tidy(() => {
    const x = ones([2], { requiresGrad: true });
    const y = x.exp();
    const [first, second] = [y.sum(), y.mul(2).sum()];
    first.backward();
    const before = values(x.grad);
    expect(() => second.backward()).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    expect(values(x.grad)).toEqual(before);
  });
});

test('deep graphs', () => {
  tidy(() => {
    const x = tensor([1], { requiresGrad: true });
    let y: Tensor = x;
    for (let i = 0; i < 20_000; i++) {
      const next = y.add(1);
      if (y !== x) y.dispose();
      y = next;
    }
    y.sum().backward();
    expect(values(x.grad)).toEqual([1]);
    let z: Tensor = x;
    for (let i = 0; i < 20_000; i++) {
      const next = z.add(1);
      if (z !== x) z.dispose();
      z = next;
    }
    z.dispose();
  });
});

test('noGrad records nothing', () => {
  tidy(() => {
    const x = ones([2], { requiresGrad: true });
    const y = noGrad(() => x.mul(2).exp());
    expect(y.requiresGrad).toBe(false);
    expect(() => y.sum().backward()).toThrow(
      'Expected a tensor that depends on one with requiresGrad, got one that does not',
    );
    expect(() =>
      noGrad(() => {
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(x.mul(2).requiresGrad).toBe(true);
    expect(() => noGrad(async () => undefined)).toThrow('to be synchronous');
  });
});

test('detach stops gradients and shares memory', () => {
  tidy(() => {
    const x = ones([2], { requiresGrad: true });
    const y = x.exp();
    const before = memory().bytes;
    const cut = y.detach();
    expect(memory().bytes).toBe(before);
    expect(cut.requiresGrad).toBe(false);
    y.mul(cut).sum().backward();
    expect(values(x.grad)[0]).toBeCloseTo(Math.E ** 2, 4);
  });
});

test('constants get no gradients', () => {
  tidy(() => {
    const [x, c] = [ones([2], { requiresGrad: true }), ones([2])];
    x.mul(c).sum().backward();
    expect(c.grad).toBeNull();
  });
});

test('requiresGrad is set on leaves only', () => {
  tidy(() => {
    const x = ones([2]);
    x.requiresGrad = true;
    const y = x.mul(2);
    expect(x.isLeaf).toBe(true);
    expect(y.isLeaf).toBe(false);
    expect(() => (y.requiresGrad = false)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    expect(() => (tensor(Int32Array.of(1)).requiresGrad = true)).toThrow(
      expect.objectContaining({ code: 'DTYPE_MISMATCH' }),
    );
    x.requiresGrad = false;
    expect(x.mul(2).requiresGrad).toBe(false);
  });
});

test('bad gradients', () => {
  tidy(() => {
    const x = ones([2], { requiresGrad: true });
    expect(() => x.mul(2).backward()).toThrow('of more than one element (shape [2]), got none');
    expect(() => x.mul(2).backward(ones([3]))).toThrow(
      'Expected the gradient to be float32 of shape [2], got float32 of shape [3]',
    );
    const other = device('cpu', { threads: 1 });
    expect(() => x.mul(2).backward(ones([2], { device: other }))).toThrow(
      expect.objectContaining({ code: 'DEVICE_MISMATCH' }),
    );
    other.close();
    expect(() => (x.grad = ones([3]))).toThrow('Expected grad to be float32 of shape [2]');
    expect(x.grad).toBeNull();
  });
});

test('gradients live outside tidy, and go with their tensor', () => {
  const start = memory();
  const x = ones([2], { requiresGrad: true });
  tidy(() => x.exp().sum().backward());
  expect(values(x.grad)[0]).toBeCloseTo(Math.E, 5);
  x.dispose();
  expect(memory()).toMatchObject({ tensors: start.tensors, bytes: start.bytes });
});

test('an error found while running leaves nothing behind', () => {
  const start = memory();
  const table = zeros([4, 4], { requiresGrad: true });
  const loss = tidy(() => {
    const targets = tensor(Int32Array.of(0, 9, 1, 2));
    targets.range = null;
    return crossEntropy(table, targets);
  });
  loss.backward();
  expect(() => loss.item()).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
  loss.dispose();
  table.dispose();
  expect(memory()).toMatchObject({ tensors: start.tensors, bytes: start.bytes });
});

test('copyFrom writes in place', () => {
  tidy(() => {
    const x = zeros([2, 2], { requiresGrad: true });
    x.copyFrom([1, 2, 3, 4]);
    expect(values(x)).toEqual([1, 2, 3, 4]);
    x.copyFrom(ones([2, 2]));
    expect(values(x)).toEqual([1, 1, 1, 1]);
    expect(x.isLeaf).toBe(true);
    const source = Float32Array.of(4, 3, 2, 1);
    x.copyFrom(source);
    source.fill(0); // whoever it belongs to may go on with it
    expect(values(x)).toEqual([4, 3, 2, 1]);
    x.copyFrom(new Float32Array(new SharedArrayBuffer(16)).fill(6));
    expect(values(x)).toEqual([6, 6, 6, 6]);
    expect(() => x.copyFrom([1])).toThrow('Expected 4 values for shape [2, 2], got 1');
    for (const source of [undefined, null, 5, {}]) {
      expect(codeOf(() => x.copyFrom(wrong(source)))).toBe('INVALID_ARGUMENT');
    }
    expect(() => x.copyFrom(ones([4]))).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
    const ids = tensor(Int32Array.of(0, 1));
    ids.copyFrom([5, -1]);
    expect(ids.range).toEqual({ min: -1, max: 5 });
    expect(() => ids.copyFrom([0.5, 1])).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
    const other = device('cpu', { threads: 1 });
    const far = ones([2, 2], { device: other }).mul(7);
    expect(values(x.copyFrom(far))).toEqual([7, 7, 7, 7]);
    far.dispose();
    other.close();
  });
});
