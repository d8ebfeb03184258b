import type { NativeEinsumShape } from '../native';
import type { EinsumSizes } from '../structure';
import {
  requireFloat,
  requireInteger,
  requireLastAxis,
  requireSameDevice,
  requireShape,
} from './checks';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

/** The sizes in the order of the native op. */
export function nativeShape(sizes: EinsumSizes): NativeEinsumShape {
  const { dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  Object.entries({ dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho }).forEach(
    ([name, size]) => requireInteger(name, size, 1),
  );
  return [dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho];
}

/** Checks what einsum2 and bttMoe have in common; returns the number of tokens. */
export function requireFactors(
  x: Tensor,
  a: Tensor,
  b: Tensor,
  bias: Tensor | null,
  sizes: EinsumSizes,
): number {
  const { dIn, alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  requireFloat('x', x);
  const tokens = requireLastAxis('x', x, dIn, 'dIn');
  requireFloat('a', a);
  requireShape('a', a, [phi, delta, rho, gamma, alpha], ['phi', 'delta', 'rho', 'gamma', 'alpha']);
  requireFloat('b', b);
  requireShape(
    'b',
    b,
    [phi, epsilon, rho, gamma, beta],
    ['phi', 'epsilon', 'rho', 'gamma', 'beta'],
  );
  if (bias !== null) {
    requireFloat('bias', bias);
    requireShape('bias', bias, [phi * epsilon * delta], ['phi·epsilon·delta']);
  }
  return tokens;
}

/**
 * The two-factor einsum layer of "Searching for Efficient Linear Layers over a Continuous Space of
 * Structured Matrices" (arXiv 2410.02117, section 3):
 * Y[φ,ε,δ] = Σ over γ,β,α,ρ of A[φ,δ,ρ,γ,α] · B[φ,ε,ρ,γ,β] · X[γ,β,α], both stages fused, in the
 * cheaper order. X is x padded with zeros or truncated at the end; y is (Y + bias) treated likewise.
 *
 * @param x [..., dIn]; leading axes may be empty
 * @param a [phi, delta, rho, gamma, alpha]
 * @param b [phi, epsilon, rho, gamma, beta]
 * @param bias [phi·epsilon·delta] or null
 * @returns [..., dOut]
 * @throws SHAPE_MISMATCH; OUT_OF_RANGE for a size below 1
 */
export function einsum2(
  x: Tensor,
  a: Tensor,
  b: Tensor,
  bias: Tensor | null,
  sizes: EinsumSizes,
): Tensor {
  const shape = nativeShape(sizes);
  const tokens = requireFactors(x, a, b, bias, sizes);
  const device = requireSameDevice({ x, a, b, bias });
  return withWorkspace(device, (workspace) => {
    const [input, left, right] = [x.storage, a.storage, b.storage];
    const biasSize = bias?.size ?? 0;
    const y = workspace.allocate(tokens * sizes.dOut);
    device.ops.einsum(
      shape,
      tokens,
      input.buffer,
      left.buffer,
      right.buffer,
      bias?.buffer ?? null,
      y.buffer,
    );
    const result = new Tensor(workspace.take(y), [...x.shape.slice(0, -1), sizes.dOut]);
    record('einsum2', [result], [x, a, b, bias], [input, left, right], ([dy], sink) => {
      const dx = sink.allocateFor(0, input.size);
      const da = sink.allocateFor(1, left.size);
      const db = sink.allocateFor(2, right.size);
      const dbias = sink.allocateFor(3, biasSize);
      device.ops.einsumBackward(
        shape,
        tokens,
        input.buffer,
        left.buffer,
        right.buffer,
        dy!.buffer,
        dx?.buffer ?? null,
        da?.buffer ?? null,
        db?.buffer ?? null,
        dbias?.buffer ?? null,
      );
      sink.add(0, dx);
      sink.add(1, da);
      sink.add(2, db);
      sink.add(3, dbias);
    });
    return result;
  });
}
