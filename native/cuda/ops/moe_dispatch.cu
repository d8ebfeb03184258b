// moeSort, moeGather, moeCombine and moeCombineBackward: tokens to rows in expert order, and back.
//
// All move rows of `cols` numbers: 8 bytes a number gathered, 4 * (k + 1) a number combined, 12 a
// number of a pair in the combination's backward. The sort moves a few integers a pair.
#include "../grid.h"
#include "../report.h"
#include "../sort.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// How an entry of `order` or `position` that names no pair is reported.
constexpr Problem kBadPair = Problem::expertIndex;

// ---- kernels ------------------------------------------------------------------------------------

// Four neighbouring numbers, or one where rows are not aligned for that.
struct Four {
  static constexpr int kWidth = 4;
  float4 v;
  __device__ void add(float factor, const Four& o) {
    v.x += factor * o.v.x;
    v.y += factor * o.v.y;
    v.z += factor * o.v.z;
    v.w += factor * o.v.w;
  }
  __device__ float dot(const Four& o) const {
    return v.x * o.v.x + v.y * o.v.y + v.z * o.v.z + v.w * o.v.w;
  }
};
struct One {
  static constexpr int kWidth = 1;
  float v;
  __device__ void add(float factor, const One& o) { v += factor * o.v; }
  __device__ float dot(const One& o) const { return v * o.v; }
};

// position[order[row]] = row; both [pairs]
__global__ void positionKernel(int64_t pairs, const int32_t* order, int32_t* position) {
  forEach(pairs, [&](int64_t row) { position[order[row]] = static_cast<int32_t>(row); });
}

// A row for each threadIdx.y: y[row] = x[order[row] / k]. x: [pairs / k, cols]; y: [pairs, cols]
template <class Part>
__global__ void __launch_bounds__(kThreads)
    gatherKernel(Status* status, int64_t pairs, int64_t k, int64_t cols, const float* x,
                 const int32_t* order, float* y) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= pairs || !checkIndex(status, kBadPair, order[row], pairs, row)) return;
  const Part* from = reinterpret_cast<const Part*>(x + order[row] / k * cols);
  Part* to = reinterpret_cast<Part*>(y + row * cols);
  for (int64_t i = threadIdx.x; i < cols / Part::kWidth; i += blockDim.x) to[i] = from[i];
}

// A token for each threadIdx.y: y[t] = sum over j of weight[t, j] * rows[position[t, j]].
// rows: [tokens * k, cols]; position: [tokens, k]; weight: [tokens, k] or null; y: [tokens, cols]
template <class Part>
__global__ void __launch_bounds__(kThreads)
    combineKernel(Status* status, int64_t tokens, int64_t k, int64_t cols, const float* rows,
                  const int32_t* position, const float* weight, float* y) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (t >= tokens) return;
  for (int64_t j = 0; j < k; ++j)
    if (!checkIndex(status, kBadPair, position[t * k + j], tokens * k, t * k + j)) return;
  Part* to = reinterpret_cast<Part*>(y + t * cols);
  for (int64_t i = threadIdx.x; i < cols / Part::kWidth; i += blockDim.x) {
    Part total{};
    for (int64_t j = 0; j < k; ++j) {
      const float factor = weight != nullptr ? weight[t * k + j] : 1.0f;
      total.add(factor, reinterpret_cast<const Part*>(rows + position[t * k + j] * cols)[i]);
    }
    to[i] = total;
  }
}

// A warp a pair: drows[position] = weight * dy[t], dweight = <dy[t], rows[position]>.
// rows, drows: [pairs, cols]; position, weight, dweight: [pairs]; dy: [pairs / k, cols]
template <class Part>
__global__ void __launch_bounds__(kThreads)
    combineBackwardKernel(Status* status, int64_t pairs, int64_t k, int64_t cols, const float* rows,
                          const int32_t* position, const float* weight, const float* dy,
                          float* drows, float* dweight) {
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (pair >= pairs || !checkIndex(status, kBadPair, position[pair], pairs, pair)) return;
  const Part* from = reinterpret_cast<const Part*>(dy + pair / k * cols);
  const Part* row = reinterpret_cast<const Part*>(rows + position[pair] * cols);
  Part* to = reinterpret_cast<Part*>(drows + position[pair] * cols);
  const float factor = weight[pair];
  float total = 0;
  for (int64_t i = threadIdx.x; i < cols / Part::kWidth; i += 32) {
    const Part d = from[i];
    total += d.dot(row[i]);
    Part scaled{};
    scaled.add(factor, d);
    to[i] = scaled;
  }
  for (int by = 16; by > 0; by /= 2) total += __shfl_xor_sync(~0u, total, by);
  if (threadIdx.x == 0) dweight[pair] = total;
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

namespace {

// Whether rows of `cols` numbers that start at these addresses can be moved four at a time.
template <class... Pointers>
bool byFour(int64_t cols, Pointers... pointers) {
  uintptr_t all = 0;
  for (const uintptr_t each : {reinterpret_cast<uintptr_t>(pointers)...}) all |= each;
  return cols % 4 == 0 && all % sizeof(float4) == 0;
}

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
  const bool four = byFour(args.cols, args.x, args.y);
  const dim3 threads = threadsFor(four ? args.cols / 4 : args.cols);
  context.launch(four ? gatherKernel<Four> : gatherKernel<One>, blocksOf(pairs, threads), threads,
                 0, context.status(), pairs, args.k, args.cols, args.x, args.order, args.y);
}

void moeCombine(Context& context, const MoeCombineArgs& args) {
  const bool four = byFour(args.cols, args.rows, args.y);
  const dim3 threads = threadsFor(four ? args.cols / 4 : args.cols);
  context.launch(four ? combineKernel<Four> : combineKernel<One>, blocksOf(args.tokens, threads),
                 threads, 0, context.status(), args.tokens, args.k, args.cols, args.rows,
                 args.position, args.weight, args.y);
}

void moeCombineBackward(Context& context, const MoeCombineBackwardArgs& args) {
  const int64_t pairs = args.tokens * args.k;
  const bool four = byFour(args.cols, args.rows, args.dy, args.drows);
  const dim3 threads(32, kThreads / 32);
  context.launch(four ? combineBackwardKernel<Four> : combineBackwardKernel<One>,
                 blocksOf(pairs, threads), threads, 0, context.status(), pairs, args.k, args.cols,
                 args.rows, args.position, args.weight, args.dy, args.drows, args.dweight);
}

}  // namespace cuda
}  // namespace einlinear
