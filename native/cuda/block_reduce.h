// Sums and extremes over the threads of a warp or of a block, always in the same order.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

namespace einlinear {
namespace cuda {

struct Sum {
  static constexpr float kIdentity = 0.0f;
  template <class T>
  static __device__ inline T join(T a, T b) {
    return a + b;
  }
};

struct Max {
  static constexpr float kIdentity = -INFINITY;
  template <class T>
  static __device__ inline T join(T a, T b) {
    return b > a || b != b ? b : a;  // a NaN wins, and stays
  }
};

struct Min {
  static constexpr float kIdentity = INFINITY;
  template <class T>
  static __device__ inline T join(T a, T b) {
    return b < a || b != b ? b : a;
  }
};

// The join of `value` over the warp's 32 lanes, in all of them.
template <class Kind, class T>
__device__ inline T warpReduce(T value) {
  for (int bits = 16; bits > 0; bits /= 2)
    value = Kind::join(value, __shfl_xor_sync(~0u, value, bits));
  return value;
}

// The join of `value` over the block's threads (whole warps), in all of them. Every thread calls.
template <class Kind, class T>
__device__ inline T blockReduce(T value) {
  __shared__ T parts[32];
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  value = warpReduce<Kind>(value);
  if (warps == 1) return value;
  __syncthreads();  // the call before has been read
  if (lane == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  return warpReduce<Kind>(lane < warps ? parts[lane] : static_cast<T>(Kind::kIdentity));
}

// The join of term(i) over i in [begin, end) by a block, in all of its threads. A thread joins in
// single precision for so few terms that no digit matters, and then in double precision.
template <class Kind, class Term>
__device__ inline double blockFold(int64_t begin, int64_t end, const Term& term) {
  constexpr int kRuns = 8, kSide = 4;  // kSide loads are under way at a time
  double total = Kind::kIdentity;
  for (int64_t i = begin + threadIdx.x; i < end;) {
    float run[kSide] = {Kind::kIdentity, Kind::kIdentity, Kind::kIdentity, Kind::kIdentity};
    for (int r = 0; r < kRuns && i < end; ++r) {
#pragma unroll
      for (int s = 0; s < kSide; ++s, i += blockDim.x)
        if (i < end) run[s] = Kind::join(run[s], term(i));
    }
    total = Kind::join(total, static_cast<double>(Kind::join(Kind::join(run[0], run[1]),
                                                             Kind::join(run[2], run[3]))));
  }
  return blockReduce<Kind>(total);
}

// Threads of a block that takes one row of `cols` numbers: a few numbers each.
constexpr int kRowThreads = 512;
inline dim3 rowThreads(int64_t cols) {
  const int64_t warps = (cols + 127) / 128, most = kRowThreads / 32;
  return dim3(static_cast<unsigned>(32 * (warps < 1 ? 1 : warps < most ? warps : most)));
}

}  // namespace cuda
}  // namespace einlinear
