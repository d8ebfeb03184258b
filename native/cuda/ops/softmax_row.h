// The pieces of a row's softmax that softmax and cross-entropy share. A block takes a row.
#pragma once

#include "../block_reduce.h"

namespace einlinear {
namespace cuda {

// The largest number of a row (NaN if one is NaN; then everything made from it is NaN, as it should
// be), and the sum of exp(x - top).
struct RowExponentials {
  float top;
  double sum;
};

// Of x[0..n), read once: a thread keeps its own top, and scales its sum when that rises. In all
// threads of the block.
__device__ inline RowExponentials rowExponentials(const float* x, int64_t n) {
  constexpr int kSide = 4;
  float top = -INFINITY, sum = 0;
  for (int64_t from = threadIdx.x; from < n; from += kSide * blockDim.x) {
    float value[kSide], rise = top;
#pragma unroll
    for (int s = 0; s < kSide; ++s) {
      const int64_t i = from + s * static_cast<int64_t>(blockDim.x);
      value[s] = i < n ? x[i] : -INFINITY;
      rise = Max::join(rise, value[s]);
    }
    if (rise == -INFINITY) continue;  // nothing to take the differences from yet
    sum *= expf(top - rise);
#pragma unroll
    for (int s = 0; s < kSide; ++s) sum += expf(value[s] - rise);
    top = rise;
  }
  const float all = blockReduce<Max>(top);
  return {all, blockReduce<Sum>(static_cast<double>(sum * expf(top - all)))};
}

}  // namespace cuda
}  // namespace einlinear
