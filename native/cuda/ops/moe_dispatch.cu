// moeSort, moeGather, moeCombine and moeCombineBackward: tokens to rows in expert order, and back.
//
// All move rows of `cols` numbers: 8 bytes a number gathered, 4 * (k + 1) a number combined, 12 a
// number of a pair in the combination's backward. The sort moves a few integers a pair.
#include "../block_reduce.h"
#include "../grid.h"
#include "../report.h"
#include "../sort.h"
#include "../vectors.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// How an entry of `order` or `position` that names no pair is reported.
constexpr Problem kBadPair = Problem::expertIndex;

// ---- kernels ------------------------------------------------------------------------------------

// position[order[row]] = row; both [pairs]
__global__ void positionKernel(int64_t pairs, const int32_t* order, int32_t* position) {
  forEach(pairs, [&](int64_t row) { position[order[row]] = static_cast<int32_t>(row); });
}

// A row for each threadIdx.y: y[row] = x[order[row] / k]. x: [pairs / k, cols]; y: [pairs, cols]
template <int N>
__global__ void __launch_bounds__(kThreads)
    gatherKernel(Status* status, int64_t pairs, int64_t k, int64_t cols, const float* x,
                 const int32_t* order, float* y) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= pairs || !checkIndex(status, kBadPair, order[row], pairs, row)) return;
  const Part<N> part;
  const int64_t from = order[row] / k * cols;
  for (int64_t i = N * threadIdx.x; i < cols; i += N * blockDim.x)
    part.put(y + row * cols + i, part.get(x + from + i));
}

// A token for each threadIdx.y: y[t] = sum over j of weight[t, j] * rows[position[t, j]].
// rows: [tokens * k, cols]; position: [tokens, k]; weight: [tokens, k] or null; y: [tokens, cols]
template <int N>
__global__ void __launch_bounds__(kThreads)
    combineKernel(Status* status, int64_t tokens, int64_t k, int64_t cols, const float* rows,
                  const int32_t* position, const float* weight, float* y) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (t >= tokens) return;
  for (int64_t pair = t * k; pair < (t + 1) * k; ++pair)
    if (!checkIndex(status, kBadPair, position[pair], tokens * k, pair)) return;
  const Part<N> part;
  for (int64_t i = N * threadIdx.x; i < cols; i += N * blockDim.x) {
    Floats<N> total = {};
    for (int64_t pair = t * k; pair < (t + 1) * k; ++pair) {
      const float factor = weight != nullptr ? weight[pair] : 1.0f;
      total = map([&](float sum, float row) { return sum + factor * row; }, total,
                  part.get(rows + position[pair] * cols + i));
    }
    part.put(y + t * cols + i, total);
  }
}

// A warp a pair: drows[position] = weight * dy[t], dweight = <dy[t], rows[position]>.
// rows, drows: [pairs, cols]; position, weight, dweight: [pairs]; dy: [pairs / k, cols]
template <int N>
__global__ void __launch_bounds__(kThreads)
    combineBackwardKernel(Status* status, int64_t pairs, int64_t k, int64_t cols, const float* rows,
                          const int32_t* position, const float* weight, const float* dy,
                          float* drows, float* dweight) {
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (pair >= pairs || !checkIndex(status, kBadPair, position[pair], pairs, pair)) return;
  const Part<N> part;
  const int64_t from = pair / k * cols, at = position[pair] * cols;
  const float factor = weight[pair];
  float total = 0;
  for (int64_t i = N * threadIdx.x; i < cols; i += N * 32) {
    const Floats<N> d = part.get(dy + from + i), row = part.get(rows + at + i);
#pragma unroll
    for (int j = 0; j < N; ++j) total += d.at[j] * row.at[j];
    part.put(drows + at + i, map([&](float each) { return factor * each; }, d));
  }
  total = warpReduce<Sum>(total);
  if (threadIdx.x == 0) dweight[pair] = total;
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

namespace {

// Threads of a block: as many for a row as it has parts, then more rows.
dim3 threadsFor(int64_t parts) {
  unsigned wide = 1;
  while (wide < kThreads && wide < parts) wide *= 2;
  return dim3(wide, kThreads / wide);
}

dim3 blocksOf(int64_t rows, dim3 threads) {
  return dim3(static_cast<unsigned>(ceilDiv(rows, threads.y)));
}

}  // namespace

void moeSort(Context& context, const MoeSortArgs& args) {
  const int64_t pairs = args.tokens * args.k;
  sortByKey(context, args.index, pairs, args.experts, args.order, args.offsets, 0,
            Problem::expertIndex);
  context.launch(positionKernel, blocksFor(pairs), dim3(kThreads), 0, pairs, args.order,
                 args.position);
}

void moeGather(Context& context, const MoeGatherArgs& args) {
  const int64_t pairs = args.tokens * args.k;
  const bool four = args.cols % 4 == 0 && aligned(args.x, args.y);
  const dim3 threads = threadsFor(four ? args.cols / 4 : args.cols);
  context.launch(four ? gatherKernel<4> : gatherKernel<1>, blocksOf(pairs, threads), threads, 0,
                 context.status(), pairs, args.k, args.cols, args.x, args.order, args.y);
}

void moeCombine(Context& context, const MoeCombineArgs& args) {
  const bool four = args.cols % 4 == 0 && aligned(args.rows, args.y);
  const dim3 threads = threadsFor(four ? args.cols / 4 : args.cols);
  context.launch(four ? combineKernel<4> : combineKernel<1>, blocksOf(args.tokens, threads),
                 threads, 0, context.status(), args.tokens, args.k, args.cols, args.rows,
                 args.position, args.weight, args.y);
}

void moeCombineBackward(Context& context, const MoeCombineBackwardArgs& args) {
  const int64_t pairs = args.tokens * args.k;
  const bool four = args.cols % 4 == 0 && aligned(args.rows, args.dy, args.drows);
  const dim3 threads(32, kThreads / 32);
  context.launch(four ? combineBackwardKernel<4> : combineBackwardKernel<1>,
                 blocksOf(pairs, threads), threads, 0, context.status(), pairs, args.k, args.cols,
                 args.rows, args.position, args.weight, args.dy, args.drows, args.dweight);
}

}  // namespace cuda
}  // namespace einlinear
