// gemm on tensor cores with operands rounded to tf32: 8 bytes of shared memory a multiplication of
// a fragment; the panels are padded so that no two lanes meet in a bank.
#include "gemm_tensor.h"

namespace einlinear {
namespace cuda {
namespace {

struct Tf32 {
  static constexpr int kDepth = 16, kStep = 8;

  // [kX, kDepth] or [kDepth, kX]
  template <int kX, bool kAlongDepth>
  struct alignas(16) Panel {
    uint32_t at[kAlongDepth ? kX : kDepth][kAlongDepth ? kDepth + 4 : kX + 8];

    __device__ __forceinline__ void put(int line, int along, const float (&x)[4]) {
      *reinterpret_cast<uint4*>(&at[line][along]) =
          make_uint4(toTf32(x[0]), toTf32(x[1]), toTf32(x[2]), toTf32(x[3]));
    }
    __device__ __forceinline__ void fragment(uint32_t (&r)[4], int x, int depth) const {
      const int lane = static_cast<int>(threadIdx.x) % 32;
      if (kAlongDepth) {
        // An element is two of the halves that ldmatrix moves.
        loadMatrices(r, &at[x + lane % 16][depth + lane / 16 * 4]);
      } else {
        const int g = x + lane / 4, t = depth + lane % 4;
        r[0] = at[t][g];
        r[1] = at[t][g + 8];
        r[2] = at[t + 4][g];
        r[3] = at[t + 4][g + 8];
      }
    }
  };

  static __device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
    multiplyTf32(d, a, b0, b1);
  }
};

template <int kM, int kN>
using Tf32Math = TensorMath<Tf32, kM, kN>;

}  // namespace

void launchGemmTf32(Context& context, const GemmPlan& plan, bool large, bool aDeep, bool bDeep) {
  launchGemm<Tf32Math>(context, plan, large, aDeep, bDeep);
}

}  // namespace cuda
}  // namespace einlinear
