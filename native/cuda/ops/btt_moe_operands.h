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

// A block a token: to[t, group, i] = from[t, group * size + i], zero beyond the side's sizes.
// from: [tokens, width]; to: [tokens, groups padded, size padded]
template <class Math>
static __global__ void __launch_bounds__(kThreads)
    rowsKernel(Side side, int bits, const float* from, typename Math::Element* to) {
  const int size = paddedSize(side.size), groups = paddedSize(side.groups);
  from += blockIdx.x * side.width;
  to += static_cast<int64_t>(blockIdx.x) * groups * size;
  forParts(groups, size / 2, bits, [&](int group, int part) {
    const auto value = [&](int i) {
      const int64_t feature = group * side.size + i;
      return group < side.groups && i < side.size && feature < side.width ? from[feature] : 0.0f;
    };
    Math::putPair(to + group * size + 2 * part, value(2 * part), value(2 * part + 1));
  });
}

// A column of blocks each (e, q / qs, p / ps), the last fastest: to[.., p % ps, q % qs, item] =
// factor's element, zero beyond the sizes; with `second`, to[.., q % qs, item, p % ps].
// to: [experts, q groups, p groups, ps * qs * padded size]
template <class Math>
static __global__ void __launch_bounds__(kThreads)
    factorKernel(bool second, int p, int q, int size, int ps, int qs, Factor strides,
                 const float* factor, typename Math::Element* to) {
  const int padded = paddedSize(size), block = ps * qs * padded;
  const int pGroups = (p + ps - 1) / ps, qGroups = (q + qs - 1) / qs;
  const int firstP = blockIdx.x % pGroups * ps, firstQ = blockIdx.x / pGroups % qGroups * qs;
  factor +=
      blockIdx.x / pGroups / qGroups * strides.expert + firstP * strides.p + firstQ * strides.q;
  to += static_cast<int64_t>(blockIdx.x) * block;
  for (int at = blockIdx.y * kThreads + threadIdx.x; at < block; at += gridDim.y * kThreads) {
    const int item = second ? at / ps % padded : at % padded;
    const int atP = second ? at % ps : at / padded / qs;
    const int atQ = second ? at / ps / padded : at / padded % qs;
    Math::put(to + at, firstP + atP < p && firstQ + atQ < q && item < size
                           ? factor[atP * strides.p + atQ * strides.q + item * strides.item]
                           : 0.0f);
  }
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
  const int row = paddedSize(side.groups) * paddedSize(side.size);
  auto* to = context.scratch<typename Math::Element>(slot, times(tokens, row));
  context.launch(rowsKernel<Math>, dim3(static_cast<unsigned>(tokens)), dim3(kThreads), 0, side,
                 bitsFor(paddedSize(side.size) / 2), from, to);
  return to;
}

// A factor as elements, in blocks of ps x qs (factorKernel), in scratch `slot`.
template <class Math>
typename Math::Element* packFactor(Context& context, const Operator& op, bool second, int ps,
                                   int qs, const float* factor, int slot) {
  const int64_t size = second ? op.out.size : op.in.size;
  const int64_t blocks = times(op.experts, ceilDiv(op.in.groups, ps), ceilDiv(op.out.groups, qs));
  const int block = ps * qs * paddedSize(size);
  auto* to = context.scratch<typename Math::Element>(slot, times(blocks, block));
  context.launch(
      factorKernel<Math>,
      dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(ceilDiv(block, 4 * kThreads))),
      dim3(kThreads), 0, second, op.in.groups, op.out.groups, size, ps, qs,
      second ? op.second : op.first, factor, to);
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
