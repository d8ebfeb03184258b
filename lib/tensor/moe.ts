import { EinlinearError } from '../errors';
import {
  formatShape,
  leadingSize,
  requireAxes,
  requireAxis,
  requireFloat,
  requireInt,
  requireInteger,
  requireNumber,
  requireSameDevice,
  requireShape,
} from './checks';
import { requireChoices, requireGroups, requirePermutation } from './routing';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

export interface RouteOptions {
  /** Added to every weight after the softmax over the chosen (BTT-MoE: 1e-6; default 0). */
  weightEpsilon?: number | undefined;
}

export interface Routing {
  /** int32 [..., k]: the chosen experts, the largest logit first. */
  index: Tensor;
  /** [..., k]: softmax over the chosen logits, plus weightEpsilon. Differentiable. */
  weight: Tensor;
  /** []: auxiliary loss that balances the experts. Differentiable. */
  aux: Tensor;
  /** [experts]: share of each expert in all choices. */
  usage: Tensor;
  /** [2]: mean perplexity of the gate's softmax, and perplexity of its average. */
  perplexity: Tensor;
}

/**
 * Top-k routing of "Searching for Efficient Linear Layers over a Continuous Space of Structured
 * Matrices" (arXiv 2410.02117, section 5). Equal logits and NaN go to the lowest index first; NaN
 * counts as the smallest.
 *
 * aux = experts · Σ_e p_e f_e + 0.1 · mean over tokens of logsumexp(logits)², with p the softmax
 * summed over tokens and f the counts of positive weights, both L1-normalised.
 *
 * @param logits [..., experts]
 * @param k experts a token uses, 1 to `experts`
 * @throws OUT_OF_RANGE, SHAPE_MISMATCH
 */
export function moeRoute(logits: Tensor, k: number, options: RouteOptions = {}): Routing {
  const { weightEpsilon = 0 } = options;
  requireFloat('logits', logits);
  requireAxis('logits', logits);
  const experts = logits.shape[logits.ndim - 1];
  requireExperts(k, experts);
  requireNumber('weightEpsilon', weightEpsilon, 0);
  const { device } = logits;
  const tokens = leadingSize(logits);
  return withWorkspace(device, (workspace) => {
    const index = workspace.allocate(tokens * k);
    const weight = workspace.allocate(tokens * k);
    const probs = workspace.allocate(tokens * experts);
    const lse = workspace.allocate(tokens);
    const usage = workspace.allocate(experts);
    const aux = workspace.allocate(1);
    const perplexity = workspace.allocate(2);
    device.ops.moeRoute(
      tokens,
      experts,
      k,
      weightEpsilon,
      logits.buffer,
      index.buffer,
      weight.buffer,
      probs.buffer,
      lse.buffer,
      usage.buffer,
      aux.buffer,
      perplexity.buffer,
    );
    index.known = { experts };
    const shape = [...logits.shape.slice(0, -1), k];
    const routing: Routing = {
      index: new Tensor(workspace.take(index), shape, {
        dtype: 'int32',
        range: { min: 0, max: experts - 1 },
      }),
      weight: new Tensor(workspace.take(weight), shape),
      aux: new Tensor(workspace.take(aux), []),
      usage: new Tensor(workspace.take(usage), [experts]),
      perplexity: new Tensor(workspace.take(perplexity), [2]),
    };
    const saved = [index, weight, probs, lse, usage];
    record('moeRoute', [routing.weight, routing.aux], [logits], saved, ([dweight, daux], sink) => {
      const dlogits = sink.allocate(tokens * experts);
      device.ops.moeRouteBackward(
        tokens,
        experts,
        k,
        weightEpsilon,
        index.buffer,
        weight.buffer,
        probs.buffer,
        lse.buffer,
        usage.buffer,
        dweight?.buffer ?? null,
        daux?.buffer ?? null,
        dlogits.buffer,
      );
      sink.add(0, dlogits);
    });
    return routing;
  });
}

/** k from 1 to the number of experts. */
export function requireExperts(k: unknown, experts: number): void {
  if (typeof k === 'number' && Number.isInteger(k) && k > experts) {
    throw new EinlinearError(
      'OUT_OF_RANGE',
      `Expected k to be at most ${experts} (the number of experts), got ${k}`,
      { k, experts },
    );
  }
  requireInteger('k', k, 1, experts);
}

export interface Dispatch {
  /** [tokens·k, d]: a row for each choice, in the order of the experts. Differentiable. */
  rows: Tensor;
  /** int32 [tokens·k]: where in `rows` choice j of token t is, at t·k + j. */
  position: Tensor;
  /** int32 [experts + 1]: where in `rows` each expert's rows start. */
  offsets: Tensor;
}

/**
 * Gathers tokens in the order of their experts (a stable sort).
 *
 * @param x [..., d]
 * @param index int32 [..., k] of distinct experts, one row for each token of x
 * @param experts number of experts; may be left out for an index that moeRoute made. An index from
 *   elsewhere is read back to be checked, which waits for the device.
 * @throws SHAPE_MISMATCH, OUT_OF_RANGE
 */
export function moeDispatch(x: Tensor, index: Tensor, experts?: number): Dispatch {
  requireFloat('x', x);
  requireAxis('x', x);
  requireInt('index', index);
  requireAxis('index', index);
  const cols = x.shape[x.ndim - 1];
  const tokens = leadingSize(x);
  const k = index.shape[index.ndim - 1];
  if (leadingSize(index) !== tokens) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected index to have a row for each of the ${tokens} tokens of x, got shape ${formatShape(index.shape)}`,
      { tokens, shape: index.shape },
    );
  }
  const count = experts ?? index.storage.known?.experts;
  requireInteger('experts', count, 1);
  requireExperts(k, count);
  const device = requireSameDevice({ x, index });
  requireChoices(index, count);
  return withWorkspace(device, (workspace) => {
    const pairs = tokens * k;
    const order = workspace.allocate(pairs);
    const position = workspace.allocate(pairs);
    const offsets = workspace.allocate(count + 1);
    const rows = workspace.allocate(pairs * cols);
    device.ops.moeSort(
      tokens,
      k,
      count,
      index.buffer,
      order.buffer,
      position.buffer,
      offsets.buffer,
    );
    device.ops.moeGather(tokens, k, cols, x.buffer, order.buffer, rows.buffer);
    position.known = { permutation: pairs };
    offsets.known = { groups: pairs };
    const dispatch: Dispatch = {
      rows: new Tensor(workspace.take(rows), [pairs, cols]),
      position: new Tensor(workspace.take(position), [pairs], {
        dtype: 'int32',
        range: pairs === 0 ? null : { min: 0, max: pairs - 1 },
      }),
      offsets: new Tensor(workspace.take(offsets), [count + 1], {
        dtype: 'int32',
        range: { min: 0, max: pairs },
      }),
    };
    record('moeDispatch', [dispatch.rows], [x], [position], ([drows], sink) => {
      const dx = sink.allocate(tokens * cols);
      device.ops.moeCombine(tokens, k, cols, drows!.buffer, position.buffer, null, dx.buffer);
      sink.add(0, dx);
    });
    return dispatch;
  });
}

/**
 * y[t] = Σ over choices j of weight[t, j] · rows[position[t·k + j]]: the inverse of
 * {@link moeDispatch}, with the router's weights.
 *
 * @param rows [tokens·k, d]
 * @param weight [..., k] with `tokens` rows
 * @param position int32 [tokens·k], a permutation. One that moeDispatch did not make is read back
 *   to be checked, which waits for the device.
 * @returns [tokens, d]
 * @throws SHAPE_MISMATCH, OUT_OF_RANGE
 */
export function moeCombine(rows: Tensor, weight: Tensor, position: Tensor, tokens: number): Tensor {
  requireFloat('rows', rows);
  requireAxes('rows', rows, ['tokens·k', 'd']);
  requireFloat('weight', weight);
  requireAxis('weight', weight);
  requireInteger('tokens', tokens, 0);
  const [pairs, cols] = rows.shape as [number, number];
  const k = weight.shape[weight.ndim - 1];
  if (leadingSize(weight) !== tokens || pairs !== tokens * k) {
    throw new EinlinearError(
      'SHAPE_MISMATCH',
      `Expected weight [tokens, k] and rows [tokens·k, d] for ${tokens} tokens, got ${formatShape(weight.shape)} and ${formatShape(rows.shape)}`,
      { tokens, weight: weight.shape, rows: rows.shape },
    );
  }
  const device = requireSameDevice({ rows, weight, position });
  requirePermutation(position, pairs);
  return withWorkspace(device, (workspace) => {
    const [source, factor, where] = [rows.storage, weight.storage, position.storage];
    const y = workspace.allocate(tokens * cols);
    device.ops.moeCombine(tokens, k, cols, source.buffer, where.buffer, factor.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), [tokens, cols]);
    record('moeCombine', [result], [rows, weight], [source, factor, where], ([dy], sink) => {
      const drows = sink.allocate(pairs * cols);
      const dweight = sink.allocate(pairs);
      device.ops.moeCombineBackward(
        tokens,
        k,
        cols,
        source.buffer,
        where.buffer,
        factor.buffer,
        dy!.buffer,
        drows.buffer,
        dweight.buffer,
      );
      sink.add(0, drows);
      sink.add(1, dweight);
    });
    return result;
  });
}

/**
 * One linear layer for each group of rows: rows offsets[e] … offsets[e+1] go through expert e,
 * y = x W_eᵀ + bias_e. The gradient of an expert without rows is exactly 0.
 *
 * @param rows [n, in]
 * @param weight [experts, out, in]
 * @param bias [experts, out] or null
 * @param offsets int32 [experts + 1], ascending from 0 to n. One that moeDispatch did not make is
 *   read back to be checked, which waits for the device.
 * @returns [n, out]
 * @throws SHAPE_MISMATCH, OUT_OF_RANGE
 */
export function groupedLinear(
  rows: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  offsets: Tensor,
): Tensor {
  requireFloat('rows', rows);
  requireAxes('rows', rows, ['n', 'in']);
  requireFloat('weight', weight);
  requireAxes('weight', weight, ['experts', 'out', 'in']);
  const [count, k] = rows.shape as [number, number];
  const [experts, n] = weight.shape as [number, number, number];
  requireShape('weight', weight, [experts, n, k], ['experts', 'out', 'in']);
  if (bias !== null) {
    requireFloat('bias', bias);
    requireShape('bias', bias, [experts, n], ['experts', 'out']);
  }
  const device = requireSameDevice({ rows, weight, bias, offsets });
  requireGroups(offsets, experts, count);
  return withWorkspace(device, (workspace) => {
    const [input, matrices, starts] = [rows.storage, weight.storage, offsets.storage];
    const y = workspace.allocate(count * n);
    device.ops.groupedLinear(
      count,
      experts,
      n,
      k,
      starts.buffer,
      input.buffer,
      matrices.buffer,
      bias?.buffer ?? null,
      y.buffer,
    );
    const result = new Tensor(workspace.take(y), [count, n]);
    const saved = [input, matrices, starts];
    record('groupedLinear', [result], [rows, weight, bias], saved, ([dy], sink) => {
      const dx = sink.allocateFor(0, count * k);
      const dw = sink.allocateFor(1, experts * n * k);
      const dbias = sink.allocateFor(2, experts * n);
      device.ops.groupedLinearBackward(
        count,
        experts,
        n,
        k,
        starts.buffer,
        input.buffer,
        matrices.buffer,
        dy!.buffer,
        dx?.buffer ?? null,
        dw?.buffer ?? null,
        dbias?.buffer ?? null,
      );
      sink.add(0, dx);
      sink.add(1, dw);
      sink.add(2, dbias);
    });
    return result;
  });
}
