// The products of a warp: d[16, 16] += a[16, K] b[K, 16], K = kDepth, in three arithmetics that the
// einsum kernels are templates over. Bf16 and Tf32 run on tensor cores; Float32 is exact, with the
// same assignment of elements to lanes: with g = lane / 4 and t = lane % 4, d[h][2i + j] is element
// (g + 8i, 8h + 2t + j).
//
// load reads an operand whose sum runs along its rows (a[m][k], b[n][k]), loadTransposed one whose
// sum runs across them (a[k][m], b[k][n]). Pointers are into shared memory, to the first element;
// rows lie `row` elements apart, a multiple of 16 bytes.
#pragma once

#include <gpu/mma.h>

#include <cstdint>

namespace einlinear {
namespace cuda {

struct Bf16 {
  using Element = __nv_bfloat16;
  static constexpr int kDepth = 16;
  static constexpr bool kRounds = true;
  struct A {
    uint32_t r[4];
  };
  struct B {
    uint32_t r[4];
  };

  static __device__ __forceinline__ void load(A& a, const Element* from, int row, int lane) {
    loadMatrices(a.r, from + lane % 16 * row + lane / 16 * 8);
  }
  static __device__ __forceinline__ void load(B& b, const Element* from, int row, int lane) {
    loadMatrices(b.r, from + (lane / 16 * 8 + lane % 8) * row + lane / 8 % 2 * 8);
  }
  static __device__ __forceinline__ void loadTransposed(A& a, const Element* from, int row,
                                                        int lane) {
    loadMatricesTransposed(a.r, from + (lane / 16 * 8 + lane % 8) * row + lane / 8 % 2 * 8);
  }
  static __device__ __forceinline__ void loadTransposed(B& b, const Element* from, int row,
                                                        int lane) {
    loadMatricesTransposed(b.r, from + lane % 16 * row + lane / 16 * 8);
  }
  static __device__ __forceinline__ void multiply(float (&d)[2][4], const A& a, const B& b) {
    multiplyBf16(d[0], a.r, b.r[0], b.r[1]);
    multiplyBf16(d[1], a.r, b.r[2], b.r[3]);
  }
  static __device__ __forceinline__ void put(Element* to, float value) {
    *to = __float2bfloat16_rn(value);
  }
  // to[0..8), 16-byte aligned
  static __device__ __forceinline__ void putEight(Element* to, const float (&v)[8]) {
    *reinterpret_cast<uint4*>(to) = make_uint4(packBf16(v[0], v[1]), packBf16(v[2], v[3]),
                                               packBf16(v[4], v[5]), packBf16(v[6], v[7]));
  }
  // to[0], to[1]; 4-byte aligned
  static __device__ __forceinline__ void putPair(Element* to, float first, float second) {
    *reinterpret_cast<uint32_t*>(to) = packBf16(first, second);
  }
};

struct Tf32 {
  using Element = float;
  static constexpr int kDepth = 8;
  static constexpr bool kRounds = true;
  struct A {
    uint32_t r[4];
  };
  struct B {
    uint32_t r[4];
  };

  // ldmatrix moves 16-byte rows, whatever is in them.
  static __device__ __forceinline__ void load(A& a, const Element* from, int row, int lane) {
    loadMatrices(a.r, from + lane % 16 * row + lane / 16 * 4);
  }
  static __device__ __forceinline__ void load(B& b, const Element* from, int row, int lane) {
    loadMatrices(b.r, from + (lane / 16 * 8 + lane % 8) * row + lane / 8 % 2 * 4);
  }
  static __device__ __forceinline__ void loadTransposed(A& a, const Element* from, int row,
                                                        int lane) {
    const Element* at = from + lane % 4 * row + lane / 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) a.r[i] = __float_as_uint(at[i / 2 * 4 * row + i % 2 * 8]);
  }
  static __device__ __forceinline__ void loadTransposed(B& b, const Element* from, int row,
                                                        int lane) {
    const Element* at = from + lane % 4 * row + lane / 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) b.r[i] = __float_as_uint(at[i % 2 * 4 * row + i / 2 * 8]);
  }
  static __device__ __forceinline__ void multiply(float (&d)[2][4], const A& a, const B& b) {
    multiplyTf32(d[0], a.r, b.r[0], b.r[1]);
    multiplyTf32(d[1], a.r, b.r[2], b.r[3]);
  }
  static __device__ __forceinline__ void put(Element* to, float value) {
    *to = __uint_as_float(toTf32(value));
  }
  static __device__ __forceinline__ void putEight(Element* to, const float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i += 2) putPair(to + i, v[i], v[i + 1]);
  }
  static __device__ __forceinline__ void putPair(Element* to, float first, float second) {
    *reinterpret_cast<float2*>(to) =
        make_float2(__uint_as_float(toTf32(first)), __uint_as_float(toTf32(second)));
  }
};

struct Float32 {
  using Element = float;
  static constexpr int kDepth = 4;
  static constexpr bool kRounds = false;
  struct A {
    float at[2][4];  // rows g, g + 8
  };
  struct B {
    float at[4][4];  // columns 2t, 2t + 1, 2t + 8, 2t + 9
  };

  static __device__ __forceinline__ int columnOf(int i, int lane) {
    return i / 2 * 8 + lane % 4 * 2 + i % 2;
  }
  static __device__ __forceinline__ void loadRow(float (&to)[4], const Element* from) {
    const float4 row = *reinterpret_cast<const float4*>(from);
    to[0] = row.x, to[1] = row.y, to[2] = row.z, to[3] = row.w;
  }
  static __device__ __forceinline__ void load(A& a, const Element* from, int row, int lane) {
#pragma unroll
    for (int i = 0; i < 2; ++i) loadRow(a.at[i], from + (lane / 4 + 8 * i) * row);
  }
  static __device__ __forceinline__ void load(B& b, const Element* from, int row, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) loadRow(b.at[i], from + columnOf(i, lane) * row);
  }
  static __device__ __forceinline__ void loadTransposed(A& a, const Element* from, int row,
                                                        int lane) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int k = 0; k < 4; ++k) a.at[i][k] = from[k * row + lane / 4 + 8 * i];
  }
  static __device__ __forceinline__ void loadTransposed(B& b, const Element* from, int row,
                                                        int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int k = 0; k < 4; ++k) b.at[i][k] = from[k * row + columnOf(i, lane)];
  }
  static __device__ __forceinline__ void multiply(float (&d)[2][4], const A& a, const B& b) {
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int i = 0; i < 4; ++i) d[h][i] += a.at[i / 2][k] * b.at[2 * h + i % 2][k];
  }
  static __device__ __forceinline__ void put(Element* to, float value) { *to = value; }
  static __device__ __forceinline__ void putEight(Element* to, const float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i += 2) putPair(to + i, v[i], v[i + 1]);
  }
  static __device__ __forceinline__ void putPair(Element* to, float first, float second) {
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
  }
};

}  // namespace cuda
}  // namespace einlinear
