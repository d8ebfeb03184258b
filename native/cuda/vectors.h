// Elementwise loops, four floats at a time where every pointer is aligned for it:
//
//   forEachPart(count, aligned, [&](int64_t i, auto part) {
//     part.put(y + i, map([](float a) { return a + a; }, part.get(x + i)));
//   });
#pragma once

#include "grid.h"

namespace einlinear {
namespace cuda {

template <int N>
struct alignas(N * sizeof(float)) Floats {
  float at[N];
};

// f of every element.
template <class F, int N, class... Rest>
__device__ __forceinline__ Floats<N> map(const F& f, const Floats<N>& x, const Rest&... rest) {
  Floats<N> y;
#pragma unroll
  for (int i = 0; i < N; ++i) y.at[i] = f(x.at[i], rest.at[i]...);
  return y;
}

// How a body reads and writes the N floats it is called for.
template <int N>
struct Part {
  static constexpr int kCount = N;
  __device__ __forceinline__ Floats<N> get(const float* p) const {
    return *reinterpret_cast<const Floats<N>*>(p);
  }
  __device__ __forceinline__ void put(float* p, const Floats<N>& x) const {
    *reinterpret_cast<Floats<N>*>(p) = x;
  }
};

// Whether floats can be read and written four at a time from all of these on; null is no obstacle.
template <class... Pointers>
inline bool aligned(Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % sizeof(Floats<4>) == 0) && ...);
}

// Calls body(i, part) for the floats of [0, count), from all threads of a one-dimensional grid
// (blocksFor(count, 4) of them): i is a multiple of 4 where `fours`, but for the last three.
template <class Body>
__device__ __forceinline__ void forEachPart(int64_t count, bool fours, const Body& body) {
  if (!fours) return forEach(count, [&](int64_t i) { body(i, Part<1>{}); });
  forEach(count / 4, [&](int64_t i) { body(4 * i, Part<4>{}); });
  const int64_t rest = count / 4 * 4 + threadIdx.x;
  if (blockIdx.x == 0 && rest < count) body(rest, Part<1>{});
}

}  // namespace cuda
}  // namespace einlinear
