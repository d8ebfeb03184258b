// The register block every product on the CPU ends in, and the loop around it.
//
//   C[i, n] (+)= sum over k of W[k, i] * V[k, n]
//
// i runs over at most kMaxRows rows whose weights are broadcast, n over one or two vectors. With 14
// rows and two vectors AVX-512 does 28 multiply-adds for 16 loads, so the block is bound by
// arithmetic.
#pragma once

#include "../isa.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

using Block = void (*)(int64_t depth, const float* w, int64_t ws, const float* v, int64_t vs,
                       float* c, int64_t cs, bool accumulate);

template <int R, int NV>
static void block(int64_t depth, const float* w, int64_t ws, const float* v, int64_t vs, float* c,
                  int64_t cs, bool accumulate) {
  Vec acc[R][NV];
  if (accumulate) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) acc[i][j] = load(c + i * cs + j * kWidth);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) acc[i][j] = Vec{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec x[NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) x[j] = load(v + j * kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) acc[i][j] += w[i] * x[j];
    w += ws;
    v += vs;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) store(c + i * cs + j * kWidth, acc[i][j]);
}

#define EINLINEAR_BLOCK(r) \
  { block<r, 1>, block<r, 2> }
static const Block kBlocks[kMaxRows][2] = {
    EINLINEAR_BLOCK(1),  EINLINEAR_BLOCK(2),  EINLINEAR_BLOCK(3),  EINLINEAR_BLOCK(4),
    EINLINEAR_BLOCK(5),  EINLINEAR_BLOCK(6),
#if defined(EINLINEAR_ISA_AVX512)
    EINLINEAR_BLOCK(7),  EINLINEAR_BLOCK(8),  EINLINEAR_BLOCK(9),  EINLINEAR_BLOCK(10),
    EINLINEAR_BLOCK(11), EINLINEAR_BLOCK(12), EINLINEAR_BLOCK(13), EINLINEAR_BLOCK(14),
#endif
};
#undef EINLINEAR_BLOCK

// How `rows` rows are cut into panels of nearly equal height, each at most kMaxRows.
struct Panels {
  int64_t rows, height, count;

  explicit Panels(int64_t n) : rows(n), height(0), count(ceilDiv(n, kMaxRows)) {
    if (count > 0) {
      height = ceilDiv(rows, count);
      count = ceilDiv(rows, height);
    }
  }
  int64_t first(int64_t p) const { return p * height; }
  int64_t size(int64_t p) const { return minOf(height, rows - p * height); }
};

// Weights of a product: packed panel by panel ([depth, panel rows] each), or row k at w + k *
// stride.
struct Weights {
  const float* w;
  int64_t stride;  // 0: packed
};

// C[rows, n] (+)= W[depth, rows]^T V[depth, n]; n is a multiple of kWidth.
static inline void product(const Panels& panels, Weights weights, int64_t depth, const float* v,
                           int64_t vs, int64_t n, float* c, int64_t cs, bool accumulate) {
  for (int64_t j = 0; j < n; j += 2 * kWidth) {
    const int wide = n - j > kWidth ? 1 : 0;
    for (int64_t p = 0; p < panels.count; ++p) {
      const int64_t first = panels.first(p), size = panels.size(p);
      const float* w = weights.stride == 0 ? weights.w + first * depth : weights.w + first;
      kBlocks[size - 1][wide](depth, w, weights.stride == 0 ? size : weights.stride, v + j, vs,
                              c + first * cs + j, cs, accumulate);
    }
  }
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
