import { embedding, reshape, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { randomArray, randomSource, relativeError, zeros as zeroArray } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

function oracle(ids: number[], lead: number[], table: NdArray): NdArray {
  const width = table.shape[1];
  const y = zeroArray([...lead, width]);
  ids.forEach((id, t) => y.data.set(table.data.subarray(id * width, (id + 1) * width), t * width));
  return y;
}

test.each<[number[], number[], number]>([
  [[3], [1], 5],
  [[0, 2, 0, 0, 1, 2], [2, 3], 3],
  [Array.from({ length: 100 }, (_, i) => (i * 7) % 5), [100], 7],
])('ids %j', (ids, lead, width) => {
  checkGradients({
    inputs: [randomArray([5, width], 81)],
    op: ([table]) => embedding(tensor(Int32Array.from(ids), { shape: lead }), table),
    oracle: ([table]) => oracle(ids, lead, table),
  });
});

test('many ids of many rows: each row adds its tokens', () => {
  tidy(() => {
    const [tokens, vocab, width] = [3000, 700, 3];
    const next = randomSource(82);
    const ids = Int32Array.from({ length: tokens }, () => Math.floor(next() ** 2 * vocab));
    const table = zeros([vocab, width], { requiresGrad: true });
    const dy = randomArray([tokens, width], 83);
    embedding(tensor(ids), table).backward(tensor(dy.data, { shape: dy.shape }));
    const expected = zeroArray([vocab, width]);
    dy.data.forEach((value, i) => {
      expected.data[ids[Math.floor(i / width)] * width + (i % width)] += value;
    });
    expect(relativeError(table.grad!.dataSync(), expected.data)).toBeLessThan(1e-6);
  });
});

test('no ids', () => {
  tidy(() => {
    const table = zeros([5, 3], { requiresGrad: true });
    const y = embedding(tensor(new Int32Array(0), { shape: [2, 0] }), table);
    expect(y.shape).toEqual([2, 0, 3]);
    y.backward(zeros([2, 0, 3]));
    expect([...(table.grad?.dataSync() ?? [])]).toEqual(new Array(15).fill(0));
  });
});

test('ids out of range are refused at the call', () => {
  tidy(() => {
    const table = zeros([5, 3]);
    expect(() => embedding(tensor(Int32Array.of(0, 5)), table)).toThrow(
      'Expected the values of ids to be from 0 to 4, got 5',
    );
    expect(() => embedding(reshape(tensor(Int32Array.of(-1, 0)), [1, 2]), table)).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
    expect(() => embedding(tensor([0, 1]), table)).toThrow(
      'Expected ids to be of dtype int32, got float32',
    );
  });
});

test('ids unknown to the host are reported by the next read', async () => {
  const table = zeros([5, 3]);
  const ids = tensor(Int32Array.of(0, 5)); // the first that there is not
  ids.range = null;
  const y = embedding(ids, table);
  await expect(y.data()).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
  expect([...table.dataSync()]).toEqual(new Array(15).fill(0));
  y.dispose();
  ids.dispose();
  table.dispose();
});
