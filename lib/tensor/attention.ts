import {
  requireAxes,
  requireFloat,
  requireNumber,
  requireSameDevice,
  requireShape,
} from './checks';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

export interface AttentionOptions {
  /** Factor on the scores before the softmax; 1/sqrt(width of a head) by default. */
  scale?: number | undefined;
  /** Whether a position sees only itself and those before it (default false). */
  causal?: boolean | undefined;
}

/**
 * softmax(scale · q kᵀ) v for every batch entry and head.
 *
 * @param q [batch, time, heads, width]; k and v have the same shape
 * @returns [batch, time, heads, width]
 * @throws SHAPE_MISMATCH
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  requireFloat('q', q);
  requireFloat('k', k);
  requireFloat('v', v);
  const names = ['batch', 'time', 'heads', 'width'];
  requireAxes('q', q, names);
  requireShape('k', k, q.shape, names);
  requireShape('v', v, q.shape, names);
  const [batch, time, heads, width] = q.shape as [number, number, number, number];
  const { scale = 1 / Math.sqrt(width), causal = false } = options;
  requireNumber('scale', scale);
  const device = requireSameDevice({ q, k, v });
  const size = q.size;
  return withWorkspace(device, (workspace) => {
    const [query, key, value] = [q.storage, k.storage, v.storage];
    const o = workspace.allocate(size);
    const lse = workspace.allocate(batch * heads * time);
    device.ops.attention(
      batch,
      time,
      heads,
      width,
      scale,
      causal,
      query.buffer,
      key.buffer,
      value.buffer,
      o.buffer,
      lse.buffer,
    );
    const result = new Tensor(workspace.take(o), q.shape);
    record('attention', [result], [q, k, v], [query, key, value, o, lse], ([dout], sink) => {
      const dq = sink.allocate(size);
      const dk = sink.allocate(size);
      const dv = sink.allocate(size);
      device.ops.attentionBackward(
        batch,
        time,
        heads,
        width,
        scale,
        causal,
        query.buffer,
        key.buffer,
        value.buffer,
        o.buffer,
        lse.buffer,
        dout!.buffer,
        dq.buffer,
        dk.buffer,
        dv.buffer,
      );
      sink.add(0, dq);
      sink.add(1, dk);
      sink.add(2, dv);
    });
    return result;
  });
}
