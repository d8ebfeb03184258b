// How elementwise work is cut: a thread takes several elements, a grid apart.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace einlinear {
namespace cuda {

constexpr int kThreads = 256;

inline int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks of kThreads threads for `count` elements, `each` a thread at most once the device is full.
inline dim3 blocksFor(int64_t count, int64_t each = 1) {
  const int64_t blocks = ceilDiv(count, kThreads * each), most = 1 << 20;
  return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
}

// Calls body(i) for every i < count, from all threads of a one-dimensional grid.
template <class Body>
__device__ inline void forEach(int64_t count, const Body& body) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step)
    body(i);
}

}  // namespace cuda
}  // namespace einlinear
