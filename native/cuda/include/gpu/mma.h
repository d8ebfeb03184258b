// Tensor cores (mma.sync) and the loads that feed them (ldmatrix), sm_80 and newer.
// native/emulation/include has the same header for the CPU.
//
// Fragments, with g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix fragments for mma.m16n8k16" and
// ".m16n8k8"):
//   bfloat16 A[16, 16]: a[0] (g, 2t..), a[1] (g + 8, 2t..), a[2] (g, 2t + 8..), a[3] (g + 8, 2t
//   + 8..) bfloat16 B[16, 8]:  b0 (2t.., g), b1 (2t + 8.., g); the element of the lower index in
//   the low half tf32 A[16, 8]:      a[0] (g, t), a[1] (g + 8, t), a[2] (g, t + 4), a[3] (g + 8, t
//   + 4) tf32 B[8, 8]:       b0 (t, g), b1 (t + 4, g) float D[16, 8]:     d[0] (g, 2t), d[1] (g, 2t
//   + 1), d[2] (g + 8, 2t), d[3] (g + 8, 2t + 1)
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace einlinear {
namespace cuda {

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8,
// 16-byte aligned, in shared memory. r[i] is this lane's two elements (g, 2t..) of matrix i.
__device__ __forceinline__ void loadMatrices(uint32_t (&r)[4], const void* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}

// The same, each matrix transposed: r[i] is the elements (2t.., g).
__device__ __forceinline__ void loadMatricesTransposed(uint32_t (&r)[4], const void* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}

// d += a b, m16n8k16, bfloat16 operands, float32 sums.
__device__ __forceinline__ void multiplyBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// A float rounded to tf32 (10 bits of mantissa, to the nearest, ties away from zero), as a
// register.
__device__ __forceinline__ uint32_t toTf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

// d += a b, m16n8k8, tf32 operands (toTf32), float32 sums.
__device__ __forceinline__ void multiplyTf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two floats rounded to bfloat16, `low` in the low half.
__device__ __forceinline__ uint32_t packBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

}  // namespace cuda
}  // namespace einlinear
