import {
  arange,
  device,
  full,
  ones,
  onesLike,
  tensor,
  tidy,
  zeros,
  zerosLike,
} from '../../lib/tensor';
import type { NestedNumbers, Tensor } from '../../lib/tensor';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

const values = (x: Tensor): number[] => [...x.dataSync()];

test('values from the host', () => {
  tidy(() => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(x.shape).toEqual([2, 3]);
    expect(x.dtype).toBe('float32');
    expect(x.size).toBe(6);
    expect(x.ndim).toBe(2);
    expect(values(x)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(tensor(3).shape).toEqual([]);
    expect(tensor(3).item()).toBe(3);
    expect(tensor([]).shape).toEqual([0]);
    expect(tensor([[], []]).shape).toEqual([2, 0]);
    expect(values(tensor([1, 2, 3, 4], { shape: [2, 2] }))).toEqual([1, 2, 3, 4]);
    expect(values(tensor(Float64Array.of(0.1)))).toEqual([Math.fround(0.1)]);
    expect(tensor(Uint8Array.of(255)).dtype).toBe('int32');
    expect(tensor(Uint8Array.of(255), { dtype: 'float32' }).dtype).toBe('float32');
    expect(values(tensor([1, 2], { dtype: 'int32' }))).toEqual([1, 2]);
  });
});

test('the host array may change afterwards', () => {
  tidy(() => {
    const host = Float32Array.of(1, 2);
    const x = tensor(host);
    host[0] = 9;
    expect(values(x)).toEqual([1, 2]);
    const read = x.dataSync();
    read[1] = 9;
    expect(values(x)).toEqual([1, 2]);
  });
});

test('constants', () => {
  tidy(() => {
    expect(values(zeros([3]))).toEqual([0, 0, 0]);
    expect(values(ones([2], { dtype: 'int32' }))).toEqual([1, 1]);
    expect(values(full([2], 0.5))).toEqual([0.5, 0.5]);
    expect(values(zeros([2], { dtype: 'int32' }))).toEqual([0, 0]);
    expect(values(arange(1, 2, 0.25))).toEqual([1, 1.25, 1.5, 1.75]);
    expect(values(arange(3, 0, -1, { dtype: 'int32' }))).toEqual([3, 2, 1]);
    expect(arange(0, 0).shape).toEqual([0]);
    const x = tensor(Int32Array.of(4, 5));
    expect(zerosLike(x).dtype).toBe('int32');
    expect(values(onesLike(tensor([1, 2])))).toEqual([1, 1]);
  });
});

test('special values survive', () => {
  tidy(() => {
    expect(values(tensor([NaN, Infinity, -Infinity, -0]))).toEqual([NaN, Infinity, -Infinity, -0]);
  });
});

test('a device of its own', () => {
  const own = device('cpu', { threads: 1 });
  const x = tensor([1, 2], { device: own });
  expect(x.device).toBe(own);
  expect(zerosLike(x).device).toBe(own);
  own.close();
});

test('bad data', () => {
  tidy(() => {
    expect(() => tensor([[1, 2], [3]])).toThrow(
      'Expected nested arrays of numbers of shape [2, 2], got an array of 1 at depth 1',
    );
    expect(() => tensor([1, [2]])).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    expect(() => tensor(['a'] as unknown as NestedNumbers)).toThrow("got 'a' at depth 1");
    expect(() => tensor([1, 2, 3], { shape: [2, 2] })).toThrow(
      'Expected 4 values for shape [2, 2], got 3',
    );
    expect(() => tensor([0.5], { dtype: 'int32' })).toThrow('got 0.5 at 0');
    expect(() => tensor([2 ** 31], { dtype: 'int32' })).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
    expect(() => tensor([1], { dtype: 'int32', requiresGrad: true })).toThrow(
      expect.objectContaining({ code: 'DTYPE_MISMATCH' }),
    );
    expect(() => tensor([1], { dtype: 'float64' as 'float32' })).toThrow("got 'float64'");
    expect(() => zeros([-1])).toThrow(
      'Expected shape[0] to be a whole number of at least 0, got -1',
    );
    expect(() => zeros([1.5])).toThrow(expect.objectContaining({ code: 'OUT_OF_RANGE' }));
    expect(() => zeros(3 as unknown as number[])).toThrow('Expected shape to be an array of sizes');
    expect(() => arange(0, 1, 0)).toThrow('Expected step to be other than 0');
  });
});

test('integers of one value', () => {
  tidy(() => {
    const x = full([2, 2], -7, { dtype: 'int32' });
    expect(values(x)).toEqual([-7, -7, -7, -7]);
    expect(x.range).toEqual({ min: -7, max: -7 });
    expect(values(full([0], 1, { dtype: 'int32' }))).toEqual([]);
  });
});

test('more than the machine holds', () => {
  for (const shape of [[2 ** 52], [2 ** 53 - 1, 2 ** 53 - 1]]) {
    for (const dtype of ['float32', 'int32'] as const) {
      expect(() => full(shape, 1, { dtype })).toThrow(
        expect.objectContaining({ code: 'OUT_OF_MEMORY' }),
      );
    }
  }
  expect(() => arange(0, 1e13)).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }));
  expect(() => zeros([2 ** 25, 2 ** 25])).toThrow(
    expect.objectContaining({ code: 'OUT_OF_MEMORY' }),
  );
});

test('a typed array that was transferred', () => {
  const data = new Float32Array([1, 2]);
  structuredClone(data, { transfer: [data.buffer] });
  expect(() => tensor(data)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  expect(() => tensor(data, { shape: [2] })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
  tidy(() => {
    expect(tensor(new Float32Array(0)).shape).toEqual([0]);
  });
});
