import {
  groupedLinear,
  moeCombine,
  moeDispatch,
  moeRoute,
  tensor,
  tidy,
  zeros,
} from '../../lib/tensor';
import type { Tensor } from '../../lib/tensor';
import type { NdArray } from '../support/arrays';
import { array, logSumExp, randomArray, relativeError, softmaxRow } from '../support/arrays';
import { checkGradients } from '../support/gradients';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

interface RouteOracle {
  index: number[];
  weight: Float64Array;
  aux: number;
  usage: number[];
  perplexity: [number, number];
}

function routeOracle(logits: NdArray, k: number, weightEpsilon: number): RouteOracle {
  const experts = logits.shape[logits.shape.length - 1];
  const tokens = logits.data.length / experts;
  const index: number[] = [];
  const weight = new Float64Array(tokens * k);
  const counts = new Array<number>(experts).fill(0);
  const p = new Array<number>(experts).fill(0);
  let z = 0;
  let meanPerplexity = 0;
  const entropy = (probabilities: ArrayLike<number>): number =>
    Array.from(probabilities).reduce((sum, q) => (q > 0 ? sum - q * Math.log(q) : sum), 0);
  for (let t = 0; t < tokens; t++) {
    const row = logits.data.subarray(t * experts, (t + 1) * experts);
    const order = Array.from(row.keys()).sort((i, j) => row[j] - row[i] || i - j);
    const chosen = order.slice(0, k);
    index.push(...chosen);
    softmaxRow(chosen.map((e) => row[e])).forEach((w, j) => {
      weight[t * k + j] = w + weightEpsilon;
      if (w + weightEpsilon > 0) counts[chosen[j]] += 1;
    });
    const probabilities = softmaxRow(row);
    probabilities.forEach((q, e) => (p[e] += q));
    meanPerplexity += Math.exp(entropy(probabilities)) / tokens;
    z += logSumExp(row) ** 2 / tokens;
  }
  const total = (values: number[]): number => values.reduce((a, b) => a + b, 0);
  const usage = counts.map((count) => count / total(counts));
  const share = p.map((q) => q / total(p));
  const aux = experts * share.reduce((sum, q, e) => sum + q * usage[e], 0) + 0.1 * z;
  return { index, weight, aux, usage, perplexity: [meanPerplexity, Math.exp(entropy(share))] };
}

const upload = ({ shape, data }: NdArray, requiresGrad = false): Tensor =>
  tensor(data, { shape, requiresGrad });

describe('moeRoute', () => {
  test.each<[number[], number, number]>([
    [[1], 4, 2],
    [[5], 4, 1],
    [[33], 8, 2],
    [[2, 3], 3, 3],
    [[100], 3, 2],
    [[7], 1, 1],
  ])('%j tokens, %d experts, k = %d', (lead, experts, k) => {
    const logits = randomArray([...lead, experts], 171, -2, 2);
    for (const weightEpsilon of [0, 1e-6]) {
      const expected = routeOracle(logits, k, weightEpsilon);
      tidy(() => {
        const routing = moeRoute(upload(logits), k, { weightEpsilon });
        expect(routing.index.shape).toEqual([...lead, k]);
        expect([...routing.index.dataSync()]).toEqual(expected.index);
        expect(relativeError(routing.usage.dataSync(), expected.usage)).toBeLessThan(1e-6);
        expect(relativeError(routing.perplexity.dataSync(), expected.perplexity)).toBeLessThan(
          1e-5,
        );
        expect(routing.aux.shape).toEqual([]);
      });
      checkGradients({
        inputs: [logits],
        op: ([logits]) => moeRoute(logits, k, { weightEpsilon }).weight,
        oracle: ([logits]) => array([...lead, k], routeOracle(logits, k, weightEpsilon).weight),
        gradientTolerance: k === 1 ? 1e-5 : 2e-5,
      });
      checkGradients({
        inputs: [logits],
        op: ([logits]) => moeRoute(logits, k, { weightEpsilon }).aux,
        oracle: ([logits]) => array([], [routeOracle(logits, k, weightEpsilon).aux]),
        tolerance: 1e-5,
        gradientTolerance: 5e-5,
      });
      checkGradients({
        inputs: [logits],
        op: ([logits]) => {
          const { weight, aux } = moeRoute(logits, k, { weightEpsilon });
          return weight.mul(aux);
        },
        oracle: ([logits]) => {
          const { weight, aux } = routeOracle(logits, k, weightEpsilon);
          return array(
            [...lead, k],
            weight.map((w) => w * aux),
          );
        },
        tolerance: 1e-5,
        gradientTolerance: 5e-5,
      });
    }
  });

  test('ties go to the lowest index', () => {
    tidy(() => {
      const { index, weight, usage } = moeRoute(zeros([3, 4]), 2);
      expect([...index.dataSync()]).toEqual([0, 1, 0, 1, 0, 1]);
      expect([...weight.dataSync()]).toEqual(new Array(6).fill(0.5));
      expect([...usage.dataSync()]).toEqual([0.5, 0.5, 0, 0]);
      const second = moeRoute(tensor([[1, 2, 2, 1]]), 3);
      expect([...second.index.dataSync()]).toEqual([1, 2, 0]);
    });
  });

  test('one expert takes all', () => {
    tidy(() => {
      const logits = Array.from({ length: 10 }, () => [0, 0, 9, 0]);
      const { index, usage } = moeRoute(tensor(logits), 1);
      expect([...index.dataSync()]).toEqual(new Array(10).fill(2));
      expect([...usage.dataSync()]).toEqual([0, 0, 1, 0]);
    });
  });

  test('NaN and infinite logits: indices stay distinct and in range', () => {
    tidy(() => {
      const logits = tensor([
        [NaN, NaN, NaN, NaN],
        [NaN, 1, NaN, 0],
        [Infinity, 0, -Infinity, Infinity],
        [-Infinity, -Infinity, -Infinity, -Infinity],
        [NaN, -Infinity, NaN, Infinity],
      ]);
      const { index } = moeRoute(logits, 3);
      const values = [...index.dataSync()];
      expect(values.slice(0, 3)).toEqual([0, 1, 2]);
      expect(values.slice(3, 6)).toEqual([1, 3, 0]);
      expect(values.slice(6, 9)).toEqual([0, 3, 1]);
      expect(values.slice(9, 12)).toEqual([0, 1, 2]);
      expect(values[12]).toBe(3);
      for (let t = 0; t < 5; t++) {
        const row = values.slice(t * 3, t * 3 + 3);
        expect(new Set(row).size).toBe(3);
        expect(row.every((e) => e >= 0 && e < 4)).toBe(true);
      }
    });
  });

  test('no tokens', () => {
    tidy(() => {
      const logits = zeros([0, 4], { requiresGrad: true });
      const { index, weight, aux } = moeRoute(logits, 2);
      expect(index.shape).toEqual([0, 2]);
      expect(aux.shape).toEqual([]);
      expect(aux.item()).toBe(0);
      weight.sum().add(aux).backward();
      expect(logits.grad?.shape).toEqual([0, 4]);
    });
  });

  test('bad k', () => {
    tidy(() => {
      expect(() => moeRoute(zeros([2, 4]), 5)).toThrow(
        'Expected k to be at most 4 (the number of experts), got 5',
      );
      expect(() => moeRoute(zeros([2, 4]), 0)).toThrow('Expected k to be a whole number');
      expect(() => moeRoute(zeros([2, 4]), 1.5)).toThrow(
        expect.objectContaining({ code: 'OUT_OF_RANGE' }),
      );
      expect(() => moeRoute(zeros([]), 1)).toThrow('at least one axis');
    });
  });
});

describe('dispatch, grouped linear and combine', () => {
  const index = [2, 0, 0, 2, 3, 2, 2, 3, 0, 3];
  const tokens = 5;
  const experts = 4;
  const upIndex = (): Tensor => tensor(Int32Array.from(index), { shape: [tokens, 2] });

  test('rows come in the order of the experts', () => {
    tidy(() => {
      const x = Array.from({ length: tokens }, (_, t) => [t, 10 * t]);
      const { rows, position, offsets } = moeDispatch(tensor(x), upIndex(), experts);
      expect([...offsets.dataSync()]).toEqual([0, 3, 3, 7, 10]);
      const first = [...rows.dataSync()].filter((_, i) => i % 2 === 0);
      expect(first).toEqual([0, 1, 4, 0, 1, 2, 3, 2, 3, 4]);
      const where = [...position.dataSync()];
      where.forEach((row, pair) => expect(first[row]).toBe(Math.floor(pair / 2)));
      expect([...where].sort((a, b) => a - b)).toEqual(index.map((_, i) => i));
    });
  });

  test('gradients of the gather', () => {
    checkGradients({
      inputs: [randomArray([tokens, 3], 181)],
      op: ([x]) => moeDispatch(x, upIndex(), experts).rows,
      oracle: ([x]) => {
        const pairs = index.map((e, pair) => ({ e, pair }));
        pairs.sort((p, q) => p.e - q.e || p.pair - q.pair);
        return array(
          [10, 3],
          pairs.flatMap(({ pair }) => {
            const t = Math.floor(pair / 2);
            return [...x.data.subarray(t * 3, t * 3 + 3)];
          }),
        );
      },
    });
  });

  test('gradients of the combination', () => {
    const position = [3, 0, 9, 1, 2, 8, 4, 7, 5, 6];
    checkGradients({
      inputs: [randomArray([10, 3], 182), randomArray([tokens, 2], 183)],
      op: ([rows, weight]) => moeCombine(rows, weight, tensor(Int32Array.from(position)), tokens),
      oracle: ([rows, weight]) =>
        array(
          [tokens, 3],
          Array.from({ length: tokens * 3 }, (_, flat) => {
            const [t, c] = [Math.floor(flat / 3), flat % 3];
            return [0, 1].reduce(
              (sum, j) => sum + weight.data[t * 2 + j] * rows.data[position[t * 2 + j] * 3 + c],
              0,
            );
          }),
        ),
    });
  });

  test.each<[number[], number, number]>([
    [[0, 3, 3, 7, 10], 3, 4],
    [[0, 10], 5, 2],
    [[0, 0, 0, 10], 2, 7],
    [[0, 33], 9, 17],
  ])('gradients of the grouped linear, offsets %j', (offsets, dIn, dOut) => {
    const count = offsets[offsets.length - 1];
    const groups = offsets.length - 1;
    const oracle = ([rows, weight, bias]: readonly NdArray[]): NdArray => {
      const y = new Float64Array(count * dOut);
      for (let r = 0; r < count; r++) {
        const e = offsets.findLastIndex((start) => start <= r);
        for (let j = 0; j < dOut; j++) {
          let sum = (bias as NdArray | undefined)?.data[e * dOut + j] ?? 0;
          for (let i = 0; i < dIn; i++) {
            sum += rows.data[r * dIn + i] * weight.data[(e * dOut + j) * dIn + i];
          }
          y[r * dOut + j] = sum;
        }
      }
      return array([count, dOut], y);
    };
    const inputs = [
      randomArray([count, dIn], 184),
      randomArray([groups, dOut, dIn], 185),
      randomArray([groups, dOut], 186),
    ];
    checkGradients({
      inputs,
      op: ([rows, w, bias]) => groupedLinear(rows, w, bias, tensor(Int32Array.from(offsets))),
      oracle,
    });
    checkGradients({
      inputs: inputs.slice(0, 2),
      op: ([rows, w]) => groupedLinear(rows, w, null, tensor(Int32Array.from(offsets))),
      oracle,
    });
  });

  test('an expert without rows gets a gradient of exactly 0', () => {
    tidy(() => {
      const w = upload(randomArray([4, 2, 3], 187), true);
      const bias = upload(randomArray([4, 2], 188), true);
      const { rows, offsets } = moeDispatch(upload(randomArray([tokens, 3], 189)), upIndex(), 4);
      groupedLinear(rows, w, bias, offsets).sum().backward();
      const gradient = [...(w.grad?.dataSync() ?? [])];
      expect(gradient.slice(6, 12)).toEqual([0, 0, 0, 0, 0, 0]);
      expect(gradient.slice(0, 6).some((value) => value !== 0)).toBe(true);
      expect([...(bias.grad?.dataSync() ?? [])]).toEqual([3, 3, 0, 0, 4, 4, 3, 3]);
    });
  });

  test('a whole mixture, from logits to output', () => {
    const [d, hidden] = [3, 4];
    const chosen = (logits: NdArray, t: number): number[] =>
      [0, 1, 2, 3].sort((i, j) => logits.data[t * 4 + j] - logits.data[t * 4 + i]).slice(0, 2);
    checkGradients({
      inputs: [
        randomArray([tokens, d], 190),
        randomArray([tokens, 4], 191, -2, 2),
        randomArray([4, hidden, d], 192),
      ],
      op: ([x, logits, w]) => {
        const { index, weight } = moeRoute(logits, 2);
        const { rows, position, offsets } = moeDispatch(x, index);
        return moeCombine(groupedLinear(rows, w, null, offsets).tanh(), weight, position, tokens);
      },
      oracle: ([x, logits, w]) => {
        const y = new Float64Array(tokens * hidden);
        for (let t = 0; t < tokens; t++) {
          const experts = chosen(logits, t);
          const weights = softmaxRow(experts.map((e) => logits.data[t * 4 + e]));
          experts.forEach((e, j) => {
            for (let h = 0; h < hidden; h++) {
              let sum = 0;
              for (let i = 0; i < d; i++) {
                sum += x.data[t * d + i] * w.data[(e * hidden + h) * d + i];
              }
              y[t * hidden + h] += weights[j] * Math.tanh(sum);
            }
          });
        }
        return array([tokens, hidden], y);
      },
      tolerance: 1e-5,
    });
  });

  test('an index that is overwritten before backward does not reach beyond memory', () => {
    tidy(() => {
      const logits = zeros([3, 4], { requiresGrad: true });
      const { index, weight } = moeRoute(logits, 2);
      const sum = weight.sum();
      index.copyFrom(new Int32Array(6).fill(1e9));
      sum.backward();
      expect(() => logits.grad!.dataSync()).toThrow(
        expect.objectContaining({ code: 'OUT_OF_RANGE' }),
      );
      logits.zeroGrad();
    });
  });

  test('no tokens', () => {
    tidy(() => {
      const { index, weight } = moeRoute(zeros([0, 4]), 2);
      const { rows, position, offsets } = moeDispatch(zeros([0, 3]), index);
      const w = zeros([4, 2, 3], { requiresGrad: true });
      const y = moeCombine(groupedLinear(rows, w, null, offsets), weight, position, 0);
      expect(y.shape).toEqual([0, 2]);
      y.backward(zeros([0, 2]));
      expect([...(w.grad?.dataSync() ?? [])]).toEqual(new Array(24).fill(0));
    });
  });

  test('bad arguments', () => {
    tidy(() => {
      const x = zeros([tokens, 3]);
      expect(() => moeDispatch(x, upIndex())).toThrow('Expected experts');
      expect(() => moeDispatch(x, upIndex(), 3)).toThrow(
        'Expected the values of index to be from 0 to 2, got 3',
      );
      expect(() => moeDispatch(zeros([4, 3]), upIndex(), 4)).toThrow('each of the 4 tokens');
      const offsets = tensor(Int32Array.of(0, 4, 2, 5));
      expect(() => groupedLinear(x, zeros([3, 2, 3]), null, offsets)).toThrow(
        'Expected offsets to ascend from 0 to 5 (the number of rows), got [0, 4, 2, 5]',
      );
      expect(() => groupedLinear(x, zeros([2, 2, 3]), null, offsets)).toThrow(
        'Expected offsets to have shape [3]',
      );
      expect(() => moeCombine(x, zeros([5, 1]), tensor(Int32Array.of(0, 1, 2, 3, 3)), 5)).toThrow(
        'Expected position to hold each row from 0 to 4 once, got 3',
      );
    });
  });
});
