import * as fc from 'fast-check';

import { EinlinearError } from '../../lib/errors';
import { EinsumLinear } from '../../lib/nn';
import { relativePadding, type Rounding, type Theta } from '../../lib/structure';
import { tensor, tidy } from '../../lib/tensor';
import { map, randomArray, relativeError, type NdArray } from '../support/arrays';
import { expectMemoryBack } from '../support/memory';
import { thetas } from '../structure/arbitraries';
import { absolute, einsumInputs, einsumOracle } from '../tensor/einsumOracle';

expectMemoryBack();

interface Drawn {
  theta: Theta;
  dIn: number;
  dOut: number;
  rounding: Rounding;
  normalize: boolean;
  gains: boolean;
  bias: boolean;
  /** Root mean square of the factors over the initial one, so that normalisation shrinks some and not others. */
  growth: [number, number];
  seed: number;
}

const drawn: fc.Arbitrary<Drawn> = fc.record({
  theta: thetas,
  dIn: fc.integer({ min: 1, max: 40 }),
  dOut: fc.integer({ min: 1, max: 40 }),
  rounding: fc.constantFrom('divisors', 'paper'),
  normalize: fc.boolean(),
  gains: fc.boolean(),
  bias: fc.boolean(),
  growth: fc.tuple(fc.constantFrom(0.5, 1, 3), fc.constantFrom(0.5, 1, 3)),
  seed: fc.integer({ min: 0, max: 1e6 }),
});

/** The layer, or null where the paper's rounding refuses the sizes. */
function create(what: Drawn): EinsumLinear | null {
  const { theta, dIn, dOut, rounding, normalize, gains, bias } = what;
  try {
    return new EinsumLinear(theta, dIn, dOut, { rounding, normalize, gains, bias });
  } catch (error) {
    if (error instanceof EinlinearError && error.code === 'NOT_FACTORABLE') return null;
    throw error;
  }
}

/** W / max(1, rms(W) / rms₀) · gain, with rms(W) = sqrt(mean(W²) + ε₀). */
function normalized(weight: NdArray, rms0: number, eps: number, gain: number): NdArray {
  const meanSquare = weight.data.reduce((sum, w) => sum + w * w, 0) / weight.data.length;
  const scale = gain / Math.max(1, Math.sqrt(meanSquare + eps) / rms0);
  return map(weight, (w) => w * scale);
}

/** Error of a layer against its definition, relative to the sums of absolute terms. */
function compare(layer: EinsumLinear, { growth, normalize, seed }: Drawn): number {
  const { sizes, a: planA, b: planB, normEps } = layer.plan;
  const random = einsumInputs(sizes, [3], seed);
  // Uniform in ±√3 has root mean square one.
  const sized = (weight: NdArray, rms: number): NdArray =>
    map(weight, (w) => Math.fround(w * Math.sqrt(3) * rms));
  const a = sized(random.a, planA.initStd * growth[0]);
  const b = sized(random.b, planB.initStd * growth[1]);
  const { x, bias } = random;
  layer.a.copyFrom(Float32Array.from(a.data));
  layer.b.copyFrom(Float32Array.from(b.data));
  layer.bias?.copyFrom(Float32Array.from(bias.data));
  const [gainA, gainB] = [layer.gainA, layer.gainB].map((gain, i) => {
    if (gain === null) return 1;
    const [value] = randomArray([1], seed + 10 + i, 0.5, 2).data;
    gain.copyFrom([value]);
    return value;
  });
  const inputs = {
    x,
    a: normalize ? normalized(a, planA.initStd, normEps, gainA) : a,
    b: normalize ? normalized(b, planB.initStd, normEps, gainB) : b,
    bias,
  };
  const oracle = (of: typeof inputs): NdArray =>
    einsumOracle(of.x, of.a, of.b, layer.bias === null ? null : of.bias, sizes);
  const y = tidy(() =>
    layer.forward(tensor(x.data, { shape: x.shape, dtype: 'float32' })).dataSync(),
  );
  return relativeError(y, oracle(inputs).data, oracle(absolute(inputs)).data);
}

test('any θ, widths, rounding and normalisation compute what the definition says', () => {
  const seen = { padded: 0, truncated: 0, exact: 0 };
  fc.assert(
    fc.property(drawn, (what) => {
      const layer = create(what);
      fc.pre(layer !== null);
      try {
        expect(compare(layer, what)).toBeLessThan(1e-6);
        const { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi } = layer.plan.sizes;
        const { input, output } = relativePadding(layer.plan.sizes);
        if (input + output === 0) seen.exact += 1;
        if (alpha * beta * gamma > dIn || phi * epsilon * delta < dOut) seen.padded += 1;
        if (alpha * beta * gamma < dIn || phi * epsilon * delta > dOut) seen.truncated += 1;
      } finally {
        layer.dispose();
      }
    }),
  );
  // The draws must have reached what the property is about.
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
});
