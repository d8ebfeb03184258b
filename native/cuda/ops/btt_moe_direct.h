// BTT-MoE for shapes no tile holds: exact float32, with z in memory.
//
// A thread or a few lanes an output; a run of tokens at a time, so that z stays below kMostBetween
// numbers. It moves z once each way and reads factors and rows from cache as often as they are
// used: correct for every size, not fast.
#pragma once

#include "../block_reduce.h"
#include "../context.h"
#include "../grid.h"
#include "../sort.h"
#include "btt_moe_shape.h"

namespace einlinear {
namespace cuda {
namespace btt {
namespace direct {

constexpr int64_t kMostBetween = int64_t{1} << 26;
constexpr int kTogether = 64;  // terms added before their sum joins the total

// ---- kernels ------------------------------------------------------------------------------------

// z[pair, q, p]; `lanes` neighbouring lanes a number. rows: [tokens, in.width]; z: [tokens * k, q,
// p], 0 for a choice that is no expert.
static __global__ void __launch_bounds__(kThreads)
    betweenKernel(Status* status, Operator op, Choices choices, int lanes, const float* rows,
                  const float* first, float* z) {
  const int64_t count = choices.tokens * choices.k * op.between();
  const int lane = threadIdx.x % lanes;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads / lanes;
  int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / lanes;
  // Lanes of a warp go round together, because they shuffle.
  for (; at - threadIdx.x % 32 / lanes < count; at += step) {
    float total = 0;
    if (at < count) {
      const int64_t pair = at / op.between(), q = at / op.in.groups % op.out.groups,
                    p = at % op.in.groups, expert = choices.index[pair];
      if (checkIndex(status, Problem::expertIndex, expert, op.experts, pair)) {
        const float* row = rows + pair / choices.k * op.in.width;
        const float* factor = first + expert * op.first.expert + p * op.first.p + q * op.first.q;
        int64_t c = lane;
        while (c < op.in.size && p * op.in.size + c < op.in.width) {
          float sum = 0;
          for (int i = 0; i < kTogether && c < op.in.size && p * op.in.size + c < op.in.width;
               ++i, c += lanes)
            sum += row[p * op.in.size + c] * factor[c * op.first.item];
          total += sum;
        }
      }
    }
    for (int by = lanes / 2; by > 0; by /= 2) total += __shfl_xor_sync(~0u, total, by);
    if (at < count && lane == 0) z[at] = total;
  }
}

// y[t, q, s] and the zeros after them. z: as above; bias: [q, s] or null; y: [tokens, out.width]
static __global__ void __launch_bounds__(kThreads)
    outputKernel(Operator op, Choices choices, const float* z, const float* second,
                 const float* bias, float* y) {
  forEach(choices.tokens * op.out.width, [&](int64_t i) {
    const int64_t t = i / op.out.width, feature = i % op.out.width;
    float total = 0;
    if (feature < op.out.groups * op.out.size) {
      const int64_t q = feature / op.out.size, s = feature % op.out.size;
      if (bias != nullptr) total = bias[feature];
      for (int64_t pair = t * choices.k; pair < (t + 1) * choices.k; ++pair) {
        const int64_t expert = choices.index[pair];
        if (expert < 0 || expert >= op.experts) continue;
        const float* from = z + pair * op.between() + q * op.in.groups;
        const float* factor =
            second + expert * op.second.expert + q * op.second.q + s * op.second.item;
        float sum = 0;
        for (int64_t p = 0; p < op.in.groups; ++p) sum += from[p] * factor[p * op.second.p];
        total += choices.weight[pair] * sum;
      }
    }
    y[i] = total;
  });
}

// dsecond (+)= its sum over pairs of its expert, in order. order, offsets: the pairs by expert
// (sort.h); z: as above; dy: [tokens, out.width]
static __global__ void __launch_bounds__(kThreads)
    factorKernel(Operator op, Choices choices, bool accumulate, const int32_t* order,
                 const int32_t* offsets, const float* z, const float* dy, float* dsecond) {
  forEach(op.experts * op.between() * op.out.size, [&](int64_t i) {
    const int64_t s = i % op.out.size, p = i / op.out.size % op.in.groups,
                  q = i / op.out.size / op.in.groups % op.out.groups,
                  expert = i / op.out.size / op.between(), feature = q * op.out.size + s;
    float total = 0;
    int row = feature < op.out.width ? offsets[expert] : offsets[expert + 1];
    while (row < offsets[expert + 1]) {
      float sum = 0;
      for (int j = 0; j < kTogether && row < offsets[expert + 1]; ++j, ++row) {
        const int64_t pair = order[row];
        sum += choices.weight[pair] * z[pair * op.between() + q * op.in.groups + p] *
               dy[pair / choices.k * op.out.width + feature];
      }
      total += sum;
    }
    float* to = dsecond + expert * op.second.expert + p * op.second.p + q * op.second.q +
                s * op.second.item;
    *to = accumulate ? *to + total : total;
  });
}

// A warp a pair: dweight[pair] = sum of z[pair, q, p] * dz[pair, p, q]
static __global__ void __launch_bounds__(kThreads)
    weightKernel(Operator op, int64_t pairs, const float* z, const float* dz, float* dweight) {
  const int64_t pair = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  if (pair >= pairs) return;
  z += pair * op.between();
  dz += pair * op.between();
  float total = 0;
  for (int64_t i = threadIdx.x % 32; i < op.between(); i += 32)
    total += z[i] * dz[i % op.in.groups * op.out.groups + i / op.in.groups];
  total = warpReduce<Sum>(total);
  if (threadIdx.x % 32 == 0) dweight[pair] = total;
}

// ---- launchers ----------------------------------------------------------------------------------

// Calls body(run of choices, its first token) for runs of tokens that z of them fits; once at
// least.
template <class Body>
void forRuns(const Operator& op, const Choices& choices, const Body& body) {
  const int64_t each = times(choices.k, op.between());
  const int64_t most = each < kMostBetween ? kMostBetween / (each > 0 ? each : 1) : 1;
  int64_t first = 0;
  do {
    const int64_t tokens = choices.tokens - first < most ? choices.tokens - first : most;
    body(Choices{tokens, choices.k, choices.index + first * choices.k,
                 choices.weight + first * choices.k},
         first);
    first += most;
  } while (first < choices.tokens);
}

// z of a run of tokens.
static inline void between(Context& context, const Operator& op, const Choices& run,
                           const float* rows, const float* first, float* z) {
  int lanes = 1;
  while (lanes < 32 && lanes < op.in.size) lanes *= 2;
  context.launch(betweenKernel, blocksFor(run.tokens * run.k * op.between() * lanes, 4),
                 dim3(kThreads), 0, context.status(), op, run, lanes, rows, first, z);
}

// Takes scratch slot 0.
static inline void forward(Context& context, const Operator& op, const Choices& choices,
                           const float* x, const float* first, const float* second,
                           const float* bias, float* y) {
  forRuns(op, choices, [&](const Choices& run, int64_t token) {
    float* z = context.scratch<float>(0, run.tokens * run.k * op.between());
    between(context, op, run, x + token * op.in.width, first, z);
    context.launch(outputKernel, blocksFor(run.tokens * op.out.width, 4), dim3(kThreads), 0, op,
                   run, z, second, bias, y + token * op.out.width);
  });
}

// Each gradient may be null. Takes scratch slots 0 to 3.
static inline void backward(Context& context, const Operator& op, const Choices& choices,
                            const float* x, const float* a, const float* b, const float* dy,
                            float* dx, float* da, float* db, float* dweight) {
  const Operator back = op.mirrored();
  const bool forth = db != nullptr || dweight != nullptr;
  forRuns(op, choices, [&](const Choices& run, int64_t token) {
    const int64_t pairs = run.tokens * run.k;
    const float *rows = x + token * op.in.width, *grads = dy + token * op.out.width;
    float* z = forth ? context.scratch<float>(0, pairs * op.between()) : nullptr;
    float* dz = context.scratch<float>(1, pairs * op.between());
    int32_t* order = context.scratch<int32_t>(2, pairs + op.experts + 1);
    int32_t* offsets = order + pairs;
    sortByKey(context, run.index, pairs, op.experts, order, offsets, 3, Problem::expertIndex);
    if (forth) between(context, op, run, rows, a, z);
    between(context, back, run, grads, b, dz);
    const auto gradient = [&](const Operator& each, const float* with, const float* of, float* to) {
      context.launch(factorKernel, blocksFor(each.experts * each.between() * each.out.size),
                     dim3(kThreads), 0, each, run, token != 0, order, offsets, with, of, to);
    };
    if (db != nullptr) gradient(op, z, grads, db);
    if (da != nullptr) gradient(back, dz, rows, da);
    if (dx != nullptr)
      context.launch(outputKernel, blocksFor(run.tokens * op.in.width, 4), dim3(kThreads), 0, back,
                     run, dz, a, nullptr, dx + token * op.in.width);
    if (dweight != nullptr)
      context.launch(weightKernel, blocksFor(pairs * 32), dim3(kThreads), 0, op, pairs, z, dz,
                     dweight + token * run.k);
  });
}

}  // namespace direct
}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
