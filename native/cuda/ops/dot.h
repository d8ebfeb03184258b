// The inner product of two large arrays, in partial sums whose number depends on the size alone.
#pragma once

#include "../block_reduce.h"
#include "../grid.h"
#include "ops.h"

namespace einlinear {
namespace cuda {

struct DotPartials {
  double* at;  // [count], device memory
  int64_t count;
};

// at[blocks] = <a, b> of the block's `piece` of a[count] and b[count]
static __global__ void __launch_bounds__(kRowThreads)
    dotKernel(int64_t count, int64_t piece, const float* a, const float* b, double* at) {
  const int64_t begin = blockIdx.x * piece, end = begin + piece < count ? begin + piece : count;
  const double sum = blockFold<Sum>(begin, end, [&](int64_t i) { return a[i] * b[i]; });
  if (threadIdx.x == 0) at[blockIdx.x] = sum;
}

// Queues the partial sums of <a, b>. Uses scratch `slot`.
static inline DotPartials dotPartials(Context& context, int64_t count, const float* a,
                                      const float* b, int slot) {
  constexpr int64_t kLeast = 16384, kMostBlocks = 1024;
  const int64_t even = ceilDiv(count, kMostBlocks), piece = even > kLeast ? even : kLeast;
  const int64_t blocks = ceilDiv(count, piece);
  double* at = context.scratch<double>(slot, blocks);
  context.launch(dotKernel, dim3(static_cast<unsigned>(blocks)), dim3(kRowThreads), 0, count, piece,
                 a, b, at);
  return {at, blocks};
}

// Their sum, in all lanes of a warp.
__device__ inline double dotSum(const DotPartials& partials) {
  double sum = 0;
  for (int64_t i = threadIdx.x % 32; i < partials.count; i += 32) sum += partials.at[i];
  return warpReduce<Sum>(sum);
}

}  // namespace cuda
}  // namespace einlinear
