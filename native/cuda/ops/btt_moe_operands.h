// What the fused kernels read: rows and factors as elements of an arithmetic, padded with zeros so
// that no kernel meets an edge, and the order in which tokens share experts.
//
// Rows: 4 bytes a number read, an element written. Factors: the same, once a call.
#pragma once

#include "../context.h"
#include "../einsum_math.h"
#include "../grid.h"
#include "../sort.h"
#include "btt_moe_shape.h"
#include "btt_moe_tile.h"

namespace einlinear {
namespace cuda {
namespace btt {

// ---- kernels ------------------------------------------------------------------------------------

// to[t, group, i] = from[t, group * size + i], zero beyond the side's sizes.
// from: [tokens, width]; to: [tokens, groups padded, size padded]
template <class Math>
static __global__ void __launch_bounds__(kThreads)
    rowsKernel(int64_t tokens, Side side, const float* from, typename Math::Element* to) {
  const int size = paddedSize(side.size), groups = paddedSize(side.groups);
  forEach(tokens * groups * (size / 2), [&](int64_t at) {
    const int i = static_cast<int>(at % (size / 2)) * 2;
    const int64_t group = at / (size / 2) % groups, t = at / (size / 2) / groups;
    const auto value = [&](int j) {
      const int64_t feature = group * side.size + j;
      return group < side.groups && j < side.size && feature < side.width
                 ? from[t * side.width + feature]
                 : 0.0f;
    };
    Math::putPair(to + 2 * at, value(i), value(i + 1));
  });
}

// to[e, q / qs, p / ps, p % ps, q % qs, item] = factor's element, zero beyond the sizes; with
// `second`, to[e, q / qs, p / ps, q % qs, item, p % ps].
// to: [experts, q groups, p groups, ps * qs * padded size]
template <class Math>
static __global__ void __launch_bounds__(kThreads)
    factorKernel(bool second, int64_t experts, int64_t p, int64_t q, int64_t size, int ps, int qs,
                 Factor strides, const float* factor, typename Math::Element* to) {
  const int padded = paddedSize(size), block = ps * qs * padded;
  const int64_t pGroups = (p + ps - 1) / ps, qGroups = (q + qs - 1) / qs;
  forEach(experts * qGroups * pGroups * block, [&](int64_t at) {
    const int within = static_cast<int>(at % block);
    const int item = second ? within / ps % padded : within % padded;
    const int64_t group = at / block, expert = group / pGroups / qGroups;
    const int64_t atP = group % pGroups * ps + (second ? within % ps : within / padded / qs);
    const int64_t atQ =
        group / pGroups % qGroups * qs + (second ? within / ps / padded : within / padded % qs);
    Math::put(to + at, atP < p && atQ < q && item < size
                           ? factor[expert * strides.expert + atP * strides.p + atQ * strides.q +
                                    item * strides.item]
                           : 0.0f);
  });
}

// keys[t]: tokens of one key have their two lowest experts in common, those of neighbouring keys
// the lowest at least; serpentine, so that neighbours share the other one where the lowest changes.
static __global__ void __launch_bounds__(kThreads)
    setKernel(Status* status, Choices choices, int experts, bool both, int32_t* keys) {
  forEach(choices.tokens, [&](int64_t t) {
    int low = experts, second = experts;
    for (int64_t pair = t * choices.k; pair < (t + 1) * choices.k; ++pair) {
      const int expert = choices.index[pair];
      if (!checkIndex(status, Problem::expertIndex, expert, experts, pair)) continue;
      second = expert < low ? low : expert < second ? expert : second;
      low = expert < low ? expert : low;
    }
    if (low == experts) low = 0;
    if (second == experts) second = low;
    keys[t] = both ? low * experts + (low % 2 == 0 ? second : experts - 1 - second) : low;
  });
}

// to[i] = sum over the splits of partial[split, i], in order
static __global__ void __launch_bounds__(kThreads)
    sumSplitsKernel(int splits, int64_t count, const float* partial, float* to) {
  forEach(count, [&](int64_t i) {
    float total = 0;
    for (int split = 0; split < splits; ++split) total += partial[split * count + i];
    to[i] = total;
  });
}

// ---- launchers ----------------------------------------------------------------------------------

// x or dy as elements; [tokens, paddedSize(groups), paddedSize(size)] in scratch `slot`.
template <class Math>
typename Math::Element* packRows(Context& context, int64_t tokens, const Side& side,
                                 const float* from, int slot) {
  const int64_t count = times(tokens, paddedSize(side.groups), paddedSize(side.size));
  auto* to = context.scratch<typename Math::Element>(slot, count);
  context.launch(rowsKernel<Math>, blocksFor(count / 2, 4), dim3(kThreads), 0, tokens, side, from,
                 to);
  return to;
}

// A factor as elements, in blocks of ps x qs (factorKernel), in scratch `slot`.
template <class Math>
typename Math::Element* packFactor(Context& context, const Operator& op, bool second, int ps,
                                   int qs, const float* factor, int slot) {
  const int64_t size = second ? op.out.size : op.in.size;
  const int64_t count = times(op.experts, ceilDiv(op.in.groups, ps) * ps,
                              ceilDiv(op.out.groups, qs) * qs, paddedSize(size));
  auto* to = context.scratch<typename Math::Element>(slot, count);
  context.launch(factorKernel<Math>, blocksFor(count, 4), dim3(kThreads), 0, second, op.experts,
                 op.in.groups, op.out.groups, size, ps, qs, second ? op.second : op.first, factor,
                 to);
  return to;
}

// The tokens ordered by their sets of experts, in scratch `slot`; uses `slot` + 1 too.
static inline const int32_t* orderBySet(Context& context, const Choices& choices, int64_t experts,
                                        int slot) {
  const bool both = choices.k > 1 && experts <= 1024;
  const int64_t values = both ? experts * experts : experts, tokens = choices.tokens;
  int32_t* keys = context.scratch<int32_t>(slot, 2 * tokens + values + 1);
  int32_t *order = keys + tokens, *offsets = order + tokens;
  context.launch(setKernel, blocksFor(tokens), dim3(kThreads), 0, context.status(), choices,
                 static_cast<int>(experts), both, keys);
  sortByKey(context, keys, tokens, values, order, offsets, slot + 1);
  return order;
}

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
