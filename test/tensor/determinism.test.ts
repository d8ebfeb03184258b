import type { EinsumSizes } from '../../lib/structure';
import type { Device, Tensor } from '../../lib/tensor';
import {
  attention,
  bttMoe,
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
  normalizeWeight,
  Generator,
  tensor,
  tidy,
} from '../../lib/tensor';
import { randomArray } from '../support/arrays';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

const TOKENS = 517;

const btt: EinsumSizes = {
  dIn: 96,
  dOut: 120,
  alpha: 12,
  beta: 1,
  gamma: 8,
  delta: 1,
  epsilon: 10,
  phi: 12,
  rho: 4,
};
const generic: EinsumSizes = {
  dIn: 90,
  dOut: 100,
  alpha: 4,
  beta: 3,
  gamma: 8,
  delta: 3,
  epsilon: 5,
  phi: 7,
  rho: 3,
};
const mirrored: EinsumSizes = {
  dIn: 96,
  dOut: 96,
  alpha: 2,
  beta: 12,
  gamma: 4,
  delta: 12,
  epsilon: 2,
  phi: 4,
  rho: 2,
};

const factors = ({ alpha, beta, gamma, delta, epsilon, phi, rho }: EinsumSizes): number[][] => [
  [phi, delta, rho, gamma, alpha],
  [phi, epsilon, rho, gamma, beta],
  [phi * epsilon * delta],
];

const ids = (on: Device, count: number, below: number): Tensor =>
  tensor(
    Int32Array.from(randomArray([count], 9, 0, below).data, (x) => Math.floor(x)),
    { device: on },
  );

const cases: [string, number[][], (inputs: Tensor[], on: Device) => Tensor][] = [
  [
    'matmul',
    [
      [3, 130, 77],
      [3, 77, 61],
    ],
    ([a, b]) => matmul(a, b),
  ],
  ['linear', [[TOKENS, 83], [129, 83], [129]], ([x, w, b]) => linear(x, w, b)],
  ['einsum2 BTT', [[TOKENS, 96], ...factors(btt)], ([x, a, b, c]) => einsum2(x, a, b, c, btt)],
  [
    'einsum2 generic',
    [[TOKENS, 90], ...factors(generic)],
    ([x, a, b, c]) => einsum2(x, a, b, c, generic),
  ],
  [
    'einsum2 mirrored',
    [[TOKENS, 96], ...factors(mirrored)],
    ([x, a, b, c]) => einsum2(x, a, b, c, mirrored),
  ],
  [
    'bttMoe with its gate',
    [[TOKENS, 96], ...factors(btt), [TOKENS, 4]],
    ([x, a, b, c, logits]) => {
      const routing = moeRoute(logits, 2);
      return bttMoe(x, a, b, routing, c, btt).mul(routing.aux);
    },
  ],
  [
    'sparse mixture',
    [
      [TOKENS, 40],
      [TOKENS, 6],
      [6, 50, 40],
      [6, 50],
    ],
    ([x, logits, w, bias]) => {
      const { index, weight } = moeRoute(logits, 2);
      const { rows, position, offsets } = moeDispatch(x, index);
      return moeCombine(groupedLinear(rows, w, bias, offsets), weight, position, TOKENS);
    },
  ],
  ['layerNorm', [[TOKENS, 65], [65], [65]], ([x, g, b]) => layerNorm(x, g, b)],
  ['softmax', [[TOKENS, 65]], ([x]) => x.softmax().log()],
  [
    'attention',
    [
      [2, 67, 3, 16],
      [2, 67, 3, 16],
      [2, 67, 3, 16],
    ],
    ([q, k, v]) => attention(q, k, v, { causal: true }),
  ],
  ['embedding', [[40, 33]], ([table], on) => embedding(ids(on, TOKENS, 40), table)],
  ['crossEntropy', [[TOKENS, 97]], ([x], on) => crossEntropy(x, ids(on, TOKENS, 97))],
  [
    'normalizeWeight',
    [[12, 1, 4, 8, 120], [1]],
    ([w, gain]) => normalizeWeight(w, gain, { rms: 0.1, eps: 1e-8 }),
  ],
  ['reductions', [[TOKENS, 40]], ([x]) => x.sum(0).add(x.mean()).add(x.max(0)).add(x.sum(1, true))],
  ['elementwise', [[TOKENS, 60], [60]], ([x, b]) => x.add(b).gelu().mul(x).tanh()],
  ['dropout', [[TOKENS, 60]], ([x]) => dropout(x, 0.3, { generator: new Generator(3) })],
];

/** Bits of the result and of every gradient. */
function bits(
  shapes: number[][],
  run: (inputs: Tensor[], on: Device) => Tensor,
  threads: number,
): Uint32Array[] {
  const on = device('cpu', { threads });
  const result = tidy(() => {
    const inputs = shapes.map((shape, i) =>
      tensor(randomArray(shape, 300 + i).data, { shape, device: on, requiresGrad: true }),
    );
    const y = run(inputs, on);
    const dy = tensor(randomArray(y.shape, 299).data, { shape: y.shape, device: on });
    const values = y.dataSync();
    y.backward(dy);
    return [values, ...inputs.map((input) => input.grad!.dataSync())].map(
      (each) => new Uint32Array(each.buffer),
    );
  });
  on.close();
  return result;
}

test.each(cases)(
  '%s: the same bits for any number of threads and in every run',
  (_name, shapes, run) => {
    const reference = bits(shapes, run, 1);
    expect(reference.every((each) => each.length > 0)).toBe(true);
    for (const threads of [2, 3, 5, 2]) {
      bits(shapes, run, threads).forEach((each, i) => {
        expect(Buffer.compare(Buffer.from(each.buffer), Buffer.from(reference[i].buffer))).toBe(0);
      });
    }
  },
);
