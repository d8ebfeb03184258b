// gemm on tensor cores with operands rounded to bfloat16 on the way to shared memory, so that
// shared memory moves 2 bytes an element; the panels are padded so that ldmatrix meets every bank
// once.
#include "gemm_tensor.h"

namespace einlinear {
namespace cuda {
namespace {

struct Bf16 {
  static constexpr int kDepth = 32, kStep = 16;

  // [kX, kDepth] or [kDepth, kX], two elements a word
  template <int kX, bool kAlongDepth>
  struct alignas(16) Panel {
    uint32_t at[kAlongDepth ? kX : kDepth][(kAlongDepth ? kDepth : kX) / 2 + 4];

    __device__ __forceinline__ void put(int line, int along, const float (&x)[4]) {
      *reinterpret_cast<uint2*>(&at[line][along / 2]) =
          make_uint2(packBf16(x[0], x[1]), packBf16(x[2], x[3]));
    }
    __device__ __forceinline__ void fragment(uint32_t (&r)[4], int x, int depth) const {
      const int lane = static_cast<int>(threadIdx.x) % 32;
      if (kAlongDepth)
        loadMatrices(r, &at[x + lane % 16][depth / 2 + lane / 16 * 4]);
      else
        loadMatricesTransposed(r, &at[depth + lane % 8 + lane / 16 * 8][x / 2 + lane / 8 % 2 * 4]);
    }
  };

  static __device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
    multiplyBf16(d, a, b0, b1);
  }
};

template <int kM, int kN>
using Bf16Math = TensorMath<Bf16, kM, kN>;

}  // namespace

void launchGemmBf16(Context& context, const GemmPlan& plan, bool large, bool aDeep, bool bDeep) {
  launchGemm<Bf16Math>(context, plan, large, aDeep, bDeep);
}

}  // namespace cuda
}  // namespace einlinear
