import { EinlinearError } from '../errors';
import { Reduction } from '../native';
import { formatShape, requireFloat, requireSameDevice } from './checks';
import { tidy } from './scope';
import { expand, reshape } from './shape';
import type { Storage } from './storage';
import { sizeOf } from './strides';
import { Tensor, needsGrad, record } from './tensor';
import { withWorkspace } from './workspace';

/** a [batchA, m, k] · b [batchB, k, n] with equal batches, or one of them 1 (and then shared). */
function batched(a: Tensor, b: Tensor): Tensor {
  const [batchA, m, k] = a.shape as [number, number, number];
  const [batchB, , n] = b.shape as [number, number, number];
  const batch = batchA === 1 ? batchB : batchA;
  const { device } = a;
  const aStride = batchA === batch ? m * k : 0;
  const bStride = batchB === batch ? k * n : 0;
  return withWorkspace(device, (workspace) => {
    const [left, right] = [a.storage, b.storage];
    const c = workspace.allocate(batch * m * n);
    device.ops.matmul(
      batch,
      m,
      n,
      k,
      false,
      false,
      false,
      aStride,
      bStride,
      left.buffer,
      right.buffer,
      null,
      c.buffer,
    );
    const result = new Tensor(workspace.take(c), [batch, m, n]);
    const saved = [needsGrad(b) ? left : null, needsGrad(a) ? right : null];
    record('matmul', [result], [a, b], saved, ([dc], sink) => {
      /** The gradient of an operand that every batch entry shares. */
      const sumBatch = (all: Storage, size: number): Storage => {
        const total = sink.allocate(size);
        device.ops.reduce(Reduction.sum, 1, batch, size, all.buffer, total.buffer);
        return total;
      };
      if (sink.needs(0)) {
        const partial = batchA === batch ? sink.partial(0) : null;
        const da = partial ?? sink.allocate(batch * m * k);
        device.ops.matmul(
          batch,
          m,
          k,
          n,
          false,
          true,
          partial !== null,
          m * n,
          bStride,
          dc!.buffer,
          right.buffer,
          null,
          da.buffer,
        );
        if (partial === null) sink.add(0, batchA === batch ? da : sumBatch(da, m * k));
      }
      if (sink.needs(1)) {
        const partial = batchB === batch ? sink.partial(1) : null;
        const db = partial ?? sink.allocate(batch * k * n);
        device.ops.matmul(
          batch,
          k,
          n,
          m,
          true,
          false,
          partial !== null,
          aStride,
          m * n,
          left.buffer,
          dc!.buffer,
          null,
          db.buffer,
        );
        if (partial === null) sink.add(1, batchB === batch ? db : sumBatch(db, k * n));
      }
    });
    return result;
  });
}

/**
 * Matrix product a · b.
 *
 * @param a [..., m, k], or a vector [k]
 * @param b [..., k, n], or a vector [k]
 * @returns [..., m, n]; the axis that a vector lacks is left out. Leading axes broadcast.
 * @throws SHAPE_MISMATCH when the inner sizes differ or the leading axes do not broadcast
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  requireFloat('a', a);
  requireFloat('b', b);
  requireSameDevice({ a, b });
  const fits =
    a.ndim >= 1 && b.ndim >= 1 && a.shape[a.ndim - 1] === b.shape[Math.max(0, b.ndim - 2)];
  if (!fits) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected a [..., m, k] and b [..., k, n] with equal k, got ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
      { a: a.shape, b: b.shape },
    );
  }
  const k = a.shape[a.ndim - 1];
  const m = a.ndim === 1 ? 1 : a.shape[a.ndim - 2];
  const n = b.ndim === 1 ? 1 : b.shape[b.ndim - 1];
  const leadA = a.shape.slice(0, -2);
  const leadB = b.shape.slice(0, -2);
  const lead = leadingAxes(a, b, leadA, leadB);
  const shape = [...lead, ...(a.ndim === 1 ? [] : [m]), ...(b.ndim === 1 ? [] : [n])];
  return tidy(() => {
    const batch = sizeOf(lead);
    const countA = sizeOf(leadA);
    const countB = sizeOf(leadB);
    if (countB === 1 && countA === batch) {
      // One matrix for all: the batch is nothing but more rows.
      const rows = reshape(a, [1, batch * m, k]);
      return reshape(batched(rows, reshape(b, [1, k, n])), shape);
    }
    const left = countA === 1 || countA === batch ? a : expand(a, [...lead, m, k]);
    const right = countB === 1 || countB === batch ? b : expand(b, [...lead, k, n]);
    return reshape(
      batched(
        reshape(left, [countA === 1 ? 1 : batch, m, k]),
        reshape(right, [countB === 1 ? 1 : batch, k, n]),
      ),
      shape,
    );
  });
}

function leadingAxes(
  a: Tensor,
  b: Tensor,
  leadA: readonly number[],
  leadB: readonly number[],
): number[] {
  const ndim = Math.max(leadA.length, leadB.length);
  return Array.from({ length: ndim }, (_, i) => {
    const sizeA = leadA[leadA.length - ndim + i] ?? 1;
    const sizeB = leadB[leadB.length - ndim + i] ?? 1;
    if (sizeA !== sizeB && sizeA !== 1 && sizeB !== 1) {
      throw new EinlinearError(
        'SHAPE_MISMATCH',
        `Expected the leading axes of a and b to broadcast, got shapes ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
        { a: a.shape, b: b.shape },
      );
    }
    return sizeA === 1 ? sizeB : sizeA;
  });
}
