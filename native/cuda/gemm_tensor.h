// The arithmetic of gemm_kernel.h on tensor cores: warps own tiles of kM / 2 x 32 sums.
//
// A fragment is 16 elements along m or n by kStep along the depth, in four registers: (x, d),
// (x + 8, d), (x, d + kStep / 2), (x + 8, d + kStep / 2) as <gpu/mma.h> numbers an A operand; read
// so, the columns of b give B operands in registers 0, 2 and 1, 3.
#pragma once

#include <gpu/mma.h>

#include "gemm_kernel.h"

namespace einlinear {
namespace cuda {

// Kind: kDepth, kStep, Panel<kX, kAlongDepth> with fragment(), multiply() of one mma.
template <class Kind, int kM_, int kN_>
struct TensorMath {
  static constexpr int kM = kM_, kN = kN_, kDepth = Kind::kDepth, kThreads = 2 * kN;
  static constexpr int kResident = kM > 64 ? 1 : 3;
  static constexpr int kRows = kM / 32, kColumns = 4;  // fragments of 16 and of 8
  template <int kX, bool kAlongDepth>
  using Panel = typename Kind::template Panel<kX, kAlongDepth>;

  float sums[kRows][kColumns][4] = {};

  static __device__ __forceinline__ int firstRow() {
    return static_cast<int>(threadIdx.x) / kN * (kM / 2);
  }
  static __device__ __forceinline__ int firstColumn() {
    return static_cast<int>(threadIdx.x) / 32 % (kN / 32) * 32;
  }

  template <class PanelA, class PanelB>
  __device__ __forceinline__ void multiply(const PanelA& a, const PanelB& b) {
#pragma unroll
    for (int depth = 0; depth < kDepth; depth += Kind::kStep) {
      uint32_t x[kRows][4], y[kColumns / 2][4];
#pragma unroll
      for (int i = 0; i < kRows; ++i) a.fragment(x[i], firstRow() + 16 * i, depth);
#pragma unroll
      for (int j = 0; j < kColumns / 2; ++j) b.fragment(y[j], firstColumn() + 16 * j, depth);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j)
          Kind::multiply(sums[i][j], x[i], y[j / 2][j % 2], y[j / 2][j % 2 + 2]);
    }
  }

  template <class Visit>
  __device__ __forceinline__ void forPairs(const Visit& visit) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = firstRow() + lane / 4, column = firstColumn() + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        visit(row + 16 * i, column + 8 * j, sums[i][j][0], sums[i][j][1]);
        visit(row + 16 * i + 8, column + 8 * j, sums[i][j][2], sums[i][j][3]);
      }
  }
};

}  // namespace cuda
}  // namespace einlinear
