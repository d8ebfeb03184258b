// gemm in exact float32: fused multiply-adds, 2 FLOPs each. A thread owns kM / 16 x kN / 16 sums
// in groups of four rows and columns, so that it reads shared memory 16 bytes at a time.
#include "gemm_kernel.h"

namespace einlinear {
namespace cuda {
namespace {

template <int kM_, int kN_>
struct Float32Math {
  static constexpr int kM = kM_, kN = kN_, kDepth = 16, kThreads = 256;
  static constexpr int kResident = kM > 64 ? 1 : 4;
  static constexpr int kRows = kM / 16, kColumns = kN / 16;

  template <int kX, bool kAlongDepth>
  struct alignas(16) Panel {
    float at[kDepth][kX + 4];

    __device__ __forceinline__ void put(int line, int along, const float (&x)[4]) {
      if (kAlongDepth) {
#pragma unroll
        for (int j = 0; j < 4; ++j) at[along + j][line] = x[j];
      } else {
        *reinterpret_cast<float4*>(&at[line][along]) = make_float4(x[0], x[1], x[2], x[3]);
      }
    }
    // This thread's kX / 16 elements at a depth; `owner` of 16.
    __device__ __forceinline__ void get(int depth, int owner, float (&x)[kX / 16]) const {
#pragma unroll
      for (int i = 0; i < kX / 16; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(&at[depth][i * 16 + owner * 4]);
        x[i] = four.x;
        x[i + 1] = four.y;
        x[i + 2] = four.z;
        x[i + 3] = four.w;
      }
    }
  };

  float sums[kRows][kColumns] = {};

  template <class PanelA, class PanelB>
  __device__ __forceinline__ void multiply(const PanelA& a, const PanelB& b) {
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
      float x[kRows], y[kColumns];
      a.get(depth, threadIdx.x / 16, x);
      b.get(depth, threadIdx.x % 16, y);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
    }
  }

  template <class Visit>
  __device__ __forceinline__ void forPairs(const Visit& visit) const {
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; j += 2)
        visit(i / 4 * 64 + row + i % 4, j / 4 * 64 + column + j % 4, sums[i][j], sums[i][j + 1]);
  }
};

}  // namespace

void launchGemmFloat32(Context& context, const GemmPlan& plan, bool large, bool aDeep, bool bDeep) {
  launchGemm<Float32Math>(context, plan, large, aDeep, bDeep);
}

}  // namespace cuda
}  // namespace einlinear
