// attentionBackward: three kernels, each of whose results has one owner: no atomics.
//
// delta = rowsum(dout o), 8 bytes an element. Then dq, a tile of queries at a time with the keys
// passing by, and dk and dv, a tile of keys at a time with the queries passing by: both make the
// probabilities anew from lse. FLOPs: 14 * pairs of query and key * headDim.
#include "../attention_tile.h"
#include "../block_reduce.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

template <class Math, int kDim, bool kOfKeys>
using BackwardTiling = Tiling<Math, kDim, (Math::kTensorCore && kDim < 128 && !kOfKeys) ? 2 : 1, 2>;

// ---- kernels ------------------------------------------------------------------------------------

// delta[batch, heads, time] = sum over headDim of dout * o, both [rows = batch * time * heads,
// headDim]. A warp a row.
__global__ void __launch_bounds__(kThreads)
    deltaKernel(int64_t rows, int64_t time, int64_t heads, int64_t headDim, const float* dout,
                const float* o, float* delta) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kThreads / 32);
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
       row < rows; row += step) {
    float sum = 0.0f;
    for (int64_t i = lane(); i < headDim; i += 32)
      sum += dout[row * headDim + i] * o[row * headDim + i];
    sum = warpReduce<Sum>(sum);
    if (lane() == 0) {
      const int64_t head = row % heads, token = row / heads;
      delta[(token / time * heads + head) * time + token % time] = sum;
    }
  }
}

// With P = exp(scale q k^T - lse) and dS = P (dout v^T - delta):
// kOfKeys: dk = scale dS^T q and dv = P^T dout; else: dq = scale dS k. Tensors [batch, time, heads,
// headDim]; lse, delta: [batch, heads, time].
template <class T, bool kOfKeys>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    attentionBackwardKernel(AttentionShape shape, const float* q, const float* k, const float* v,
                            const float* dout, const float* lse, const float* delta, float* dq,
                            float* dk, float* dv) {
  using Math = typename T::Math;
  EINLINEAR_DYNAMIC_SHARED(memory);
  auto& shared = *reinterpret_cast<typename T::Shared*>(memory);
  const Place<T> place(shape);
  // The tiles with the most to do start first: late queries, early keys.
  const bool reversed = shape.causal && !kOfKeys;
  const int first = (reversed ? shape.tiles - 1 - place.tile : place.tile) * T::kRows;
  const View<T, kOfKeys> view(shape, first);
  const float scale = shape.scale * kLog2e;
  const Operands<T> forScores{kOfKeys ? k : q, kOfKeys ? 1.0f : scale, shared.rows[0],
                              kOfKeys ? q : k, kOfKeys ? scale : 1.0f, shared.columns[0]};
  const Operands<T> forGradients{kOfKeys ? v : dout, 1.0f, shared.rows[1],
                                 kOfKeys ? dout : v, 1.0f, shared.columns[1]};
  lse += place.head * shape.time;
  delta += place.head * shape.time;

  // lse and delta of the rows, if those are queries
  float rowLse[T::kRowTiles][Math::kSlots], rowDelta[T::kRowTiles][Math::kSlots];
#pragma unroll
  for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
    for (int slot = 0; slot < Math::kSlots; ++slot) {
      const int row = view.warpFirst + 16 * m + Math::row(slot);
      const bool inside = !kOfKeys && row < shape.time;
      rowLse[m][slot] = inside ? lse[row] * kLog2e : 0.0f;
      rowDelta[m][slot] = inside ? delta[row] : 0.0f;
    }
  // of the columns, if those are queries: each thread brings one number
  static_assert(2 * T::kColumns <= kAttentionThreads, "a thread for each");
  const int mine = static_cast<int>(threadIdx.x) % T::kColumns;
  const int kind = static_cast<int>(threadIdx.x) / T::kColumns;
  const auto statistic = [&](int column) {
    if (!kOfKeys || kind > 1 || column + mine >= shape.time) return 0.0f;
    return kind == 0 ? lse[column + mine] * kLog2e : delta[column + mine];
  };

  float main[T::kRowTiles][T::kOutputs][4];                  // dq or dk
  float second[T::kRowTiles][kOfKeys ? T::kOutputs : 1][4];  // dv
  clear(main);
  clear(second);
  IncomingColumns<T> incoming;
  incoming.fetch(place.rows(forScores.columns, view.begin, place.chunkAt(0)), shape.vectors);
  float next = statistic(view.begin);
  if (shape.chunks == 1) {
    loadRows<2>(place, first, 0, forScores);
    loadRows<2>(place, first, 0, forGradients);
  }
  for (int column = view.begin; column < view.end; column += T::kColumns) {
    const bool active = view.any(column);
    float scores[T::kRowTiles][T::kScores][4], gradients[T::kRowTiles][T::kScores][4];
    clear(scores);
    clear(gradients);
    if (kOfKeys && kind < 2) shared.statistics[kind][mine] = next;
    const int nextColumn = column + T::kColumns;
    multiplyHeads(place, first, column, forScores, active, incoming, scores, forGradients.columns,
                  column, place.chunkAt(0));
    multiplyHeads(place, first, column, forGradients, active, incoming, gradients,
                  nextColumn < view.end ? forScores.columns : nullptr, nextColumn,
                  place.chunkAt(0));
    next = statistic(nextColumn);
    if (active) {
#pragma unroll
      for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < T::kScores; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int slot = Math::slot(e), at = Math::column(n, e);
            scores[m][n][e] =
                exp2f(scores[m][n][e] - (kOfKeys ? shared.statistics[0][at] : rowLse[m][slot]));
            gradients[m][n][e] -= kOfKeys ? shared.statistics[1][at] : rowDelta[m][slot];
          }
      view.mask(column, 0.0f, scores);
      float* weights = shared.weights[threadIdx.x / 32];
      if constexpr (kOfKeys) Math::multiplyScores(second, scores, shared.columns[1], weights);
#pragma unroll
      for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < T::kScores; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) gradients[m][n][e] *= scores[m][n][e];
      Math::multiplyScores(main, gradients, shared.columns[0], weights);
    }
    __syncthreads();
  }

#pragma unroll
  for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
    for (int slot = 0; slot < Math::kSlots; ++slot) {
      const int row = view.warpFirst + 16 * m + Math::row(slot);
      if (row >= shape.time) continue;
      const int64_t at = place.offset(row, place.chunk);
      const int width = place.width(place.chunk);
      // The columns of the scores were k, or q times scale and log2(e).
      Math::write(main[m], slot, kOfKeys ? kLn2 : shape.scale, (kOfKeys ? dk : dq) + at, width,
                  shape.vectors);
      if constexpr (kOfKeys) Math::write(second[m], slot, 1.0f, dv + at, width, shape.vectors);
    }
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void attentionBackward(Context& context, const AttentionBackwardArgs& args) {
  if (args.time == 0 || args.headDim == 0) return;
  const int64_t rows = args.batch * args.time * args.heads;
  float* delta = context.scratch<float>(0, rows);
  context.launch(deltaKernel, blocksFor(rows * 32), dim3(kThreads), 0, rows, args.time, args.heads,
                 args.headDim, args.dout, args.o, delta);
  const bool vectors = aligned(args.q, args.k, args.v, args.dout, args.dq, args.dk, args.dv);
  withArithmetic(context.compute(), args.headDim, [&](auto math, auto dim) {
    const auto launch = [&](auto ofKeys) {
      constexpr bool kOfKeys = decltype(ofKeys)::value;
      using T = BackwardTiling<decltype(math), decltype(dim)::value, kOfKeys>;
      launchAttention<T>(context, args, vectors, attentionBackwardKernel<T, kOfKeys>, args.q,
                         args.k, args.v, args.dout, args.lse, delta, args.dq, args.dk, args.dv);
    };
    launch(std::false_type{});
    launch(std::true_type{});
  });
}

}  // namespace cuda
}  // namespace einlinear
