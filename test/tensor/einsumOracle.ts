import type { EinsumSizes } from '../../lib/structure';
import type { NdArray } from '../support/arrays';
import { map, randomArray, sizeOf, zeros } from '../support/arrays';

export interface EinsumInputs {
  x: NdArray;
  a: NdArray;
  b: NdArray;
  bias: NdArray;
}

/**
 * The definition of the layer as one loop over all seven indices, in float64. `gate(t, e)` is what
 * rank slice e of token t counts with.
 */
export function einsumOracle(
  x: NdArray,
  a: NdArray,
  b: NdArray,
  bias: NdArray | null,
  sizes: EinsumSizes,
  gate: (token: number, slice: number) => number = () => 1,
): NdArray {
  const { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  const tokens = sizeOf(x.shape.slice(0, -1));
  const y = zeros([...x.shape.slice(0, -1), dOut]);
  for (let t = 0; t < tokens; t++) {
    for (let f = 0; f < phi; f++) {
      for (let e = 0; e < epsilon; e++) {
        for (let d = 0; d < delta; d++) {
          const out = (f * epsilon + e) * delta + d;
          if (out >= dOut) continue;
          let total = bias?.data[out] ?? 0;
          for (let r = 0; r < rho; r++) {
            const weight = gate(t, r);
            if (weight === 0) continue;
            for (let g = 0; g < gamma; g++) {
              for (let p = 0; p < beta; p++) {
                const right = b.data[(((f * epsilon + e) * rho + r) * gamma + g) * beta + p];
                for (let q = 0; q < alpha; q++) {
                  const into = (g * beta + p) * alpha + q;
                  if (into >= dIn) continue;
                  const left = a.data[(((f * delta + d) * rho + r) * gamma + g) * alpha + q];
                  total += weight * left * right * x.data[t * dIn + into];
                }
              }
            }
          }
          y.data[t * dOut + out] = total;
        }
      }
    }
  }
  return y;
}

/** Random inputs for a layer of these sizes. */
export function einsumInputs(
  sizes: EinsumSizes,
  lead: readonly number[],
  seed: number,
): EinsumInputs {
  const { dIn, alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  return {
    x: randomArray([...lead, dIn], seed),
    a: randomArray([phi, delta, rho, gamma, alpha], seed + 1),
    b: randomArray([phi, epsilon, rho, gamma, beta], seed + 2),
    bias: randomArray([phi * epsilon * delta], seed + 3),
  };
}

/** The same with absolute values: bounds every sum of terms. */
export function absolute({ x, a, b, bias }: EinsumInputs): EinsumInputs {
  return {
    x: map(x, Math.abs),
    a: map(a, Math.abs),
    b: map(b, Math.abs),
    bias: map(bias, Math.abs),
  };
}

export interface EinsumGradients {
  dx: Float64Array;
  da: Float64Array;
  db: Float64Array;
  dbias: Float64Array;
  /** [tokens, rho] */
  dgate: Float64Array;
}

/** The gradients of Σ y·dy by their definition, as one loop over all seven indices, in float64. */
export function einsumGradients(
  { x, a, b }: Pick<EinsumInputs, 'x' | 'a' | 'b'>,
  dy: NdArray,
  sizes: EinsumSizes,
  gate: (token: number, slice: number) => number = () => 1,
): EinsumGradients {
  const { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  const tokens = x.data.length / dIn;
  const dx = new Float64Array(x.data.length);
  const da = new Float64Array(a.data.length);
  const db = new Float64Array(b.data.length);
  const dgate = new Float64Array(tokens * rho);
  const dbias = new Float64Array(phi * epsilon * delta);
  dy.data.forEach((gradient, i) => {
    if (i % dOut < dbias.length) dbias[i % dOut] += gradient;
  });
  for (let f = 0; f < phi; f++) {
    for (let e = 0; e < epsilon; e++) {
      for (let d = 0; d < delta; d++) {
        const out = (f * epsilon + e) * delta + d;
        if (out >= dOut) continue;
        for (let r = 0; r < rho; r++) {
          for (let g = 0; g < gamma; g++) {
            for (let p = 0; p < beta; p++) {
              const right = (((f * epsilon + e) * rho + r) * gamma + g) * beta + p;
              for (let q = 0; q < alpha; q++) {
                const into = (g * beta + p) * alpha + q;
                if (into >= dIn) continue;
                const left = (((f * delta + d) * rho + r) * gamma + g) * alpha + q;
                const product = a.data[left] * b.data[right];
                for (let t = 0; t < tokens; t++) {
                  const weight = gate(t, r);
                  const gradient = dy.data[t * dOut + out];
                  const input = x.data[t * dIn + into];
                  dx[t * dIn + into] += gradient * weight * product;
                  da[left] += gradient * weight * input * b.data[right];
                  db[right] += gradient * weight * input * a.data[left];
                  dgate[t * rho + r] += gradient * input * product;
                }
              }
            }
          }
        }
      }
    }
  }
  return { dx, da, db, dbias, dgate };
}
