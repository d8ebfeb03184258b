// attention: fused, with an online softmax; the scores never leave the chip.
//
// A tile of queries stays in shared memory while the keys and values of its head pass through it.
// Of global memory 16 bytes an element are moved, and from L2 8 bytes * time / T::kRows more;
// FLOPs: 4 * pairs of query and key * headDim. A causal tile stops at the diagonal.
#include "../attention_tile.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// As many rows a warp as registers and shared memory hold: each fragment of the columns that is
// read serves all of them.
template <class Math, int kDim>
using ForwardTiling =
    Tiling<Math, kDim, (kDim < 128 || sizeof(typename Math::Element) == 2) ? 2 : 1, 1>;

// ---- kernels ------------------------------------------------------------------------------------

// o[batch, time, heads, headDim] = softmax(scale q k^T) v; lse[batch, heads, time]
template <class T>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    attentionKernel(AttentionShape shape, const float* q, const float* k, const float* v, float* o,
                    float* lse) {
  using Math = typename T::Math;
  EINLINEAR_DYNAMIC_SHARED(memory);
  auto& shared = *reinterpret_cast<typename T::Shared*>(memory);
  const Place<T> place(shape);
  // The later a causal tile, the more there is to do: those start first.
  const int first = (shape.causal ? shape.tiles - 1 - place.tile : place.tile) * T::kRows;
  const View<T, false> view(shape, first);
  const Operands<T> operands{q, shape.scale * kLog2e, shared.rows[0], k, 1.0f, shared.columns[0]};

  float output[T::kRowTiles][T::kOutputs][4];
  float top[T::kRowTiles][Math::kSlots], total[T::kRowTiles][Math::kSlots];
  clear(output);
#pragma unroll
  for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
    for (int slot = 0; slot < Math::kSlots; ++slot) {
      top[m][slot] = -3.402823466e38f;  // not infinite: a difference of infinities is NaN
      total[m][slot] = 0.0f;
    }

  IncomingColumns<T> incoming;
  incoming.fetch(place.rows(k, 0, place.chunkAt(0)), shape.vectors);
  if (shape.chunks == 1) loadRows<4>(place, first, 0, operands);
  for (int key = 0; key < view.end; key += T::kColumns) {
    const bool active = view.any(key);
    float scores[T::kRowTiles][T::kScores][4];
    clear(scores);
    multiplyHeads(place, first, key, operands, active, incoming, scores, v, key, place.chunk);
    if (active) {
      view.mask(key, -INFINITY, scores);
#pragma unroll
      for (int m = 0; m < T::kRowTiles; ++m) {
        float fade[Math::kSlots];
#pragma unroll
        for (int slot = 0; slot < Math::kSlots; ++slot) {
          float highest = top[m][slot];
#pragma unroll
          for (int n = 0; n < T::kScores; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e)
              if (Math::slot(e) == slot) highest = fmaxf(highest, scores[m][n][e]);
#pragma unroll
          for (int bit = 1; bit < Math::kRowLanes; bit *= 2)
            highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, bit));
          fade[slot] = exp2f(top[m][slot] - highest);
          top[m][slot] = highest;
          total[m][slot] *= fade[slot];
        }
#pragma unroll
        for (int n = 0; n < T::kScores; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            scores[m][n][e] = exp2f(scores[m][n][e] - top[m][Math::slot(e)]);
            total[m][Math::slot(e)] += scores[m][n][e];
          }
#pragma unroll
        for (int n = 0; n < T::kOutputs; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) output[m][n][e] *= fade[Math::slot(e)];
      }
    }
    incoming.put(1.0f, shared.columns[1]);
    __syncthreads();
    if (key + T::kColumns < view.end)
      incoming.fetch(place.rows(k, key + T::kColumns, place.chunkAt(0)), shape.vectors);
    if (active)
      Math::multiplyScores(output, scores, shared.columns[1], shared.weights[threadIdx.x / 32]);
  }

#pragma unroll
  for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
    for (int slot = 0; slot < Math::kSlots; ++slot) {
#pragma unroll
      for (int bit = 1; bit < Math::kRowLanes; bit *= 2)
        total[m][slot] += __shfl_xor_sync(~0u, total[m][slot], bit);
      const int row = view.warpFirst + 16 * m + Math::row(slot);
      if (row >= shape.time) continue;
      Math::write(output[m], slot, 1.0f / total[m][slot], o + place.offset(row, place.chunk),
                  place.width(place.chunk), shape.vectors);
      if (place.chunk == 0 && lane() % Math::kRowLanes == 0)
        lse[place.head * shape.time + row] = (top[m][slot] + log2f(total[m][slot])) * kLn2;
    }
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void attention(Context& context, const AttentionArgs& args) {
  if (args.time == 0 || args.headDim == 0) return;
  withArithmetic(context.compute(), args.headDim, [&](auto math, auto dim) {
    using T = ForwardTiling<decltype(math), decltype(dim)::value>;
    launchAttention<T>(context, args, aligned(args.q, args.k, args.v, args.o), attentionKernel<T>,
                       args.q, args.k, args.v, args.o, args.lse);
  });
}

}  // namespace cuda
}  // namespace einlinear
