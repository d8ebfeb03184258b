import {
  MLP,
  PixelTransformer,
  type MLPConfig,
  type PixelTransformerConfig,
} from '../../lib/models';
import { AdamW } from '../../lib/optim';
import { Generator, randn, tensor, tidy } from '../../lib/tensor';
import { live } from '../support/memory';

const STUDENT: MLPConfig = { dIn: 4, dOut: 2, depth: 2, width: 16 };
const PIXELS: PixelTransformerConfig = {
  imageSize: 2,
  channels: 3,
  vocabSize: 8,
  depth: 2,
  width: 16,
  heads: 2,
};

const image = (batch = 2) =>
  tensor(
    Int32Array.from({ length: batch * 12 }, (_, i) => (i * 5) % 8),
    { shape: [batch, 12] },
  );

describe.each(['dense', 'btt:normalize=false,gains=false', 'btt-moe:experts=4,k=2'])(
  '%s',
  (structure) => {
    test('the regression student learns', () => {
      const before = live();
      const model = new MLP({ ...STUDENT, structure }, { generator: new Generator(1) });
      const optimizer = new AdamW(model, { lr: 3e-3, weightDecay: 0 });
      const x = randn([64, 4], { generator: new Generator(2) });
      const target = tidy(() => x.slice(1, 0, 2).square().keep());
      const step = (): number =>
        tidy(() => {
          const { total, meanSquaredError } = model.loss(x, target);
          model.zeroGrad();
          total.backward();
          optimizer.step();
          return meanSquaredError.item();
        });
      const first = step();
      let last = first;
      for (let i = 0; i < 60; i++) last = step();
      expect(last).toBeLessThan(0.3 * first);
      for (const each of [optimizer, model, x, target]) each.dispose();
      const after = live();
      expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
    });

    test('the pixel transformer learns', () => {
      const before = live();
      const model = new PixelTransformer({ ...PIXELS, structure }, { generator: new Generator(1) });
      const optimizer = new AdamW(model, { lr: 3e-3, weightDecay: 0 });
      const step = (): number =>
        tidy(() => {
          const { total, crossEntropy } = model.loss(image());
          model.zeroGrad();
          total.backward();
          optimizer.step();
          return crossEntropy.item();
        });
      const first = step();
      expect(first).toBeCloseTo(Math.log(8), 5);
      let last = first;
      for (let i = 0; i < 60; i++) last = step();
      expect(last).toBeLessThan(0.5 * first);
      for (const each of [optimizer, model]) each.dispose();
      const after = live();
      expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
    });
  },
);

test('the student sees its inputs in the order of the permutation', () => {
  const plain = new MLP(STUDENT, { generator: new Generator(1) });
  const permuted = new MLP(
    { ...STUDENT, permutation: [2, 0, 3, 1] },
    { generator: new Generator(1) },
  );
  permuted.loadStateDict(plain.stateDict());
  for (const model of [plain, permuted]) model.head.weight.copyFrom(new Float32Array(32).fill(0.1));
  tidy(() => {
    const y = permuted.forward(tensor([[1, 2, 3, 4]]));
    const z = plain.forward(tensor([[3, 1, 4, 2]]));
    expect(Array.from(y.dataSync())).toEqual(Array.from(z.dataSync()));
  });
  plain.dispose();
  permuted.dispose();
});

test('an image may come as a sequence or with its axes', () => {
  const model = new PixelTransformer(PIXELS);
  tidy(() => {
    const a = model.forward(image());
    const b = model.forward(image().reshape([2, 2, 2, 3]));
    expect(a.shape).toEqual([2, 13, 8]);
    expect(Array.from(b.dataSync())).toEqual(Array.from(a.dataSync()));
    expect(() => model.forward(tensor(new Int32Array(24), { shape: [2, 3, 2, 2] }))).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
  });
  model.dispose();
});

test('counts', () => {
  const student = new MLP(STUDENT);
  expect(student.macsPerToken()).toBe(4 * 16 + 2 * 2 * 16 * 64 + 16 * 2);
  student.dispose();
  const pixels = new PixelTransformer(PIXELS);
  expect(pixels.macsPerToken()).toEqual({
    linear: 2 * 12 * 256,
    attention: 2 * 2 * 13 * 16,
    head: 16 * 8,
    nonEmbedding: 2 * 12 * 256 + 2 * 2 * 13 * 16,
    total: 2 * 12 * 256 + 2 * 2 * 13 * 16 + 16 * 8,
  });
  pixels.dispose();
});

test.each([
  [{ depth: 0 }, 'depth'],
  [{ permutation: [0, 1, 2] }, 'permutation'],
  [{ permutation: [0, 1, 2, 2] }, 'permutation'],
  [{ permutation: 4 as never }, 'permutation'],
  [{ bias: 'false' as never }, 'bias'],
  [{ structure: 'moe' }, 'structure'],
  [{ layers: 3 }, 'layers'],
])('the student refuses %j', (change, name) => {
  const before = live();
  expect(() => new MLP({ ...STUDENT, ...change })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(name) }),
  );
  expect(live()).toEqual(before);
});

test.each([
  [{ heads: 3 }, 'heads'],
  [{ imageSize: 0 }, 'imageSize'],
  [{ structure: 'moe' }, 'structure'],
  [{ size: 3 }, 'size'],
])('the pixel transformer refuses %j', (change, name) => {
  const before = live();
  expect(() => new PixelTransformer({ ...PIXELS, ...change })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(name) }),
  );
  expect(live()).toEqual(before);
});
