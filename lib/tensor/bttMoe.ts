import { EinlinearError } from '../errors';
import type { EinsumSizes } from '../structure';
import {
  formatShape,
  leadingSize,
  requireAxis,
  requireFloat,
  requireInt,
  requireSameDevice,
  sameShape,
} from './checks';
import { nativeShape, requireFactors } from './einsum';
import { requireExperts } from './moe';
import { requireChoices } from './routing';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

/** Which experts each token uses, and how much of each. */
export interface Choices {
  /** int32 [..., k] of distinct experts, one row for each token. */
  readonly index: Tensor;
  /** [..., k] */
  readonly weight: Tensor;
}

/**
 * The block tensor-train mixture of experts of "Searching for Efficient Linear Layers over a
 * Continuous Space of Structured Matrices" (arXiv 2410.02117, section 5): a two-factor layer with
 * β = δ = 1 in which rank slice e counts with the token's weight for expert e. Only the k chosen
 * slices of a token are computed; an expert nobody chose gets a gradient of exactly 0.
 *
 * @param x [..., dIn]; leading axes may be empty
 * @param a [phi, 1, experts, gamma, alpha]
 * @param b [phi, epsilon, experts, gamma, 1]
 * @param choices as moeRoute gives them, for the same tokens. An index from elsewhere is read back
 *   to be checked, which waits for the device.
 * @param bias [phi·epsilon] or null
 * @param sizes with beta = delta = 1; rho is the number of experts
 * @returns [..., dOut]
 * @throws SHAPE_MISMATCH, OUT_OF_RANGE, INVALID_ARGUMENT
 */
export function bttMoe(
  x: Tensor,
  a: Tensor,
  b: Tensor,
  choices: Choices,
  bias: Tensor | null,
  sizes: EinsumSizes,
): Tensor {
  const { index, weight } = choices;
  const shape = nativeShape(sizes);
  if (sizes.beta !== 1 || sizes.delta !== 1) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected the sizes beta and delta of a BTT to be 1, got ${sizes.beta} and ${sizes.delta}`,
      { sizes },
    );
  }
  const tokens = requireFactors(x, a, b, bias, sizes);
  requireInt('index', index);
  requireAxis('index', index);
  requireFloat('weight', weight);
  const k = index.shape[index.ndim - 1];
  requireExperts(k, sizes.rho);
  if (leadingSize(index) !== tokens || !sameShape(index.shape, weight.shape)) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected index and weight to have shape [${tokens}, k] for the ${tokens} tokens of x, got ${formatShape(index.shape)} and ${formatShape(weight.shape)}`,
      { tokens, index: index.shape, weight: weight.shape },
    );
  }
  const device = requireSameDevice({ x, a, b, index, weight, bias });
  requireChoices(index, sizes.rho);
  return withWorkspace(device, (workspace) => {
    const [input, left, right] = [x.storage, a.storage, b.storage];
    const [chosen, factor] = [index.storage, weight.storage];
    const biasSize = bias?.size ?? 0;
    const y = workspace.allocate(tokens * sizes.dOut);
    device.ops.bttMoe(
      shape,
      tokens,
      k,
      input.buffer,
      left.buffer,
      right.buffer,
      chosen.buffer,
      factor.buffer,
      bias?.buffer ?? null,
      y.buffer,
    );
    const result = new Tensor(workspace.take(y), [...x.shape.slice(0, -1), sizes.dOut]);
    const saved = [input, left, right, chosen, factor];
    record('bttMoe', [result], [x, a, b, weight, bias], saved, ([dy], sink) => {
      const dx = sink.allocateFor(0, input.size);
      const da = sink.allocateFor(1, left.size);
      const db = sink.allocateFor(2, right.size);
      const dweight = sink.allocateFor(3, factor.size);
      const dbias = sink.allocateFor(4, biasSize);
      device.ops.bttMoeBackward(
        shape,
        tokens,
        k,
        input.buffer,
        left.buffer,
        right.buffer,
        chosen.buffer,
        factor.buffer,
        dy!.buffer,
        dx?.buffer ?? null,
        da?.buffer ?? null,
        db?.buffer ?? null,
        dweight?.buffer ?? null,
        dbias?.buffer ?? null,
      );
      sink.add(0, dx);
      sink.add(1, da);
      sink.add(2, db);
      sink.add(3, dweight);
      sink.add(4, dbias);
    });
    return result;
  });
}
