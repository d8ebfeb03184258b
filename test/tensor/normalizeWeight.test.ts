import { normalizeWeight, ones, tensor, tidy, zeros } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { map, randomArray } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

function oracle(w: NdArray, gain: number, rms: number, eps: number): NdArray {
  const meanSquare = w.data.reduce((total, x) => total + x * x, 0) / w.data.length;
  const ratio = Math.max(1, Math.sqrt(meanSquare + eps) / rms);
  return map(w, (x) => (x / ratio) * gain);
}

test.each<[number[], number, number]>([
  [[1], 0.1, 0.5],
  [[7], 0.1, 1e-6],
  [[3, 5, 2], 0.2, 1e-2],
  [[3, 5, 2], 10, 1e-6],
  [[1, 2, 3, 4, 5], 0.01, 1e-8],
])('shape %j, rms %d, eps %d', (shape, rms, eps) => {
  const w = randomArray(shape, 111);
  checkGradients({
    inputs: [w],
    op: ([w]) => normalizeWeight(w, null, { rms, eps }),
    oracle: ([w]) => oracle(w, 1, rms, eps),
  });
  checkGradients({
    inputs: [w, randomArray([1], 112, 0.5, 1.5)],
    op: ([w, gain]) => normalizeWeight(w, gain, { rms, eps }),
    oracle: ([w, gain]) => oracle(w, gain.data[0], rms, eps),
  });
});

test('a small weight passes unchanged', () => {
  tidy(() => {
    const w = tensor([0.1, -0.2, 0.3], { requiresGrad: true });
    const y = normalizeWeight(w, null, { rms: 1, eps: 1e-8 });
    expect([...y.dataSync()]).toEqual([...w.dataSync()]);
    y.sum().backward();
    expect([...(w.grad?.dataSync() ?? [])]).toEqual([1, 1, 1]);
  });
});

test('zeros stay zeros', () => {
  tidy(() => {
    const w = zeros([4], { requiresGrad: true });
    const y = normalizeWeight(w, ones([1]), { rms: 0.1, eps: 1e-8 });
    expect([...y.dataSync()]).toEqual([0, 0, 0, 0]);
    y.sum().backward();
    expect([...(w.grad?.dataSync() ?? [])]).toEqual([1, 1, 1, 1]);
  });
});

test('bad arguments', () => {
  tidy(() => {
    expect(() => normalizeWeight(ones([3]), ones([3]), { rms: 1, eps: 0 })).toThrow(
      'Expected gain to have shape [1], got [3]',
    );
    expect(() => normalizeWeight(ones([3]), null, { rms: 0, eps: 0 })).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RANGE' }),
    );
  });
});
