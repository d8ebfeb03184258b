import type { EinsumSizes } from '../../lib/structure';
import type { Device, Tensor } from '../../lib/tensor';
import {
  attention,
  bttMoe,
  concat,
  crossEntropy,
  device,
  dropout,
  einsum2,
  embedding,
  groupedLinear,
  layerNorm,
  linear,
  matmul,
  moeCombine,
  moeDispatch,
  moeRoute,
  mseLoss,
  normalizeWeight,
  pad,
  softmax,
  tensor,
  tidy,
} from '../../lib/tensor';
import { EinlinearError } from '../../lib/errors';
import { randomArray } from '../support/arrays';
import { expectMemoryBack } from '../support/memory';

// Every allocation and every native call of an op and of its backward fails once; whatever the call
// had made by then must be gone.

expectMemoryBack();

const sizes: EinsumSizes = {
  dIn: 6,
  dOut: 6,
  alpha: 3,
  beta: 1,
  gamma: 2,
  delta: 1,
  epsilon: 2,
  phi: 3,
  rho: 4,
};
const [a, b] = [
  [3, 1, 4, 2, 3],
  [3, 2, 4, 2, 1],
];

const ids = (on: Device, ...values: number[]): Tensor =>
  tensor(Int32Array.from(values), { device: on });

const cases: [string, number[][], (inputs: Tensor[], on: Device) => Tensor][] = [
  ['elementwise', [[2, 3], [3]], ([x, y]) => x.add(y).mul(x).div(y).sub(x).maximum(y).gelu()],
  ['reductions', [[2, 3]], ([x]) => x.sum(0).add(x.mean()).add(x.max(1, true).min(0))],
  [
    'matmul',
    [
      [2, 3, 4],
      [2, 1, 4, 2],
    ],
    ([x, y]) => matmul(x, y),
  ],
  [
    'shape',
    [[2, 3]],
    ([x]) =>
      concat([
        pad(x.transpose(), [
          [1, 0],
          [0, 0],
        ]).slice(0, 1),
        x.reshape([3, 2]),
      ]),
  ],
  ['softmax', [[2, 3]], ([x]) => softmax(x, 0)],
  ['dropout', [[2, 3]], ([x]) => dropout(x, 0.5)],
  ['linear', [[2, 3], [4, 3], [4]], ([x, w, c]) => linear(x, w, c).add(linear(x, w))],
  ['layerNorm', [[2, 3], [3], [3]], ([x, g, c]) => layerNorm(x, g, c)],
  ['embedding', [[3, 2]], ([table], on) => embedding(ids(on, 0, 2), table)],
  ['attention', [[1, 2, 1, 2]], ([x]) => attention(x, x, x)],
  ['crossEntropy', [[2, 3]], ([x], on) => crossEntropy(x, ids(on, 0, 2))],
  [
    'mseLoss',
    [
      [2, 3],
      [2, 3],
    ],
    ([x, y]) => mseLoss(x, y),
  ],
  ['einsum2', [[2, 6], a, b, [6]], ([x, l, r, c]) => einsum2(x, l, r, c, sizes)],
  ['normalizeWeight', [[4], [1]], ([w, g]) => normalizeWeight(w, g, { rms: 0.1, eps: 0 })],
  [
    'bttMoe',
    [[2, 6], a, b, [2, 4]],
    ([x, l, r, logits]) => {
      const routing = moeRoute(logits, 2);
      return bttMoe(x, l, r, routing, null, sizes).mul(routing.aux);
    },
  ],
  [
    'sparse mixture',
    [
      [2, 3],
      [2, 4],
      [4, 2, 3],
      [4, 2],
    ],
    ([x, logits, w, c]) => {
      const { index, weight } = moeRoute(logits, 2);
      const { rows, position, offsets } = moeDispatch(x, index);
      return moeCombine(groupedLinear(rows, w, c, offsets), weight, position, 2);
    },
  ],
];

test.each(cases)('%s', (_name, shapes, run) => {
  const on = device('cpu', { threads: 1 });
  const inputs = shapes.map((shape, i) => {
    return tensor(randomArray(shape, 400 + i, 0.5, 2).data, { shape, device: on });
  });
  inputs.forEach((input) => (input.requiresGrad = true));
  const start = on.memory();

  let left = Infinity;
  const countDown = (): void => {
    left -= 1;
    if (left === 0) throw new EinlinearError('OUT_OF_MEMORY', 'injected');
  };
  const allocate = on.allocate.bind(on);
  on.allocate = (size) => {
    countDown();
    return allocate(size);
  };
  const launch = new Proxy(on.native.ops, {
    get(ops, name) {
      countDown();
      return Reflect.get(ops, name) as unknown;
    },
  });
  Object.defineProperty(on, 'ops', { get: () => launch });

  let failures = 0;
  for (let nth = 1; ; nth++) {
    left = nth;
    let failed = false;
    try {
      tidy(() => run(inputs, on).sum().backward());
    } catch (error) {
      expect(error).toMatchObject({ message: 'injected' });
      failed = true;
    }
    left = Infinity;
    inputs.forEach((input) => input.zeroGrad());
    expect(on.memory()).toMatchObject({ tensors: start.tensors, bytes: start.bytes });
    if (!failed) break;
    failures += 1;
  }
  expect(failures).toBeGreaterThan(4);
  inputs.forEach((input) => input.dispose());
  on.close();
});
