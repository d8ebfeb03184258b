// Transposes between token rows (features contiguous) and lane tiles (kLanes tokens contiguous).
//
// In a lane tile every feature is a vector over tokens, so that any reshuffle of features is only
// a choice of row addresses. Cost: each element is read and written once, in registers of
// kWidth x kWidth.
#pragma once

#include "../isa.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

constexpr int kLanes = 32;  // tokens in a tile

template <int S>
static inline void exchange(Vec* v) {
  IVec low, high;
  for (int i = 0; i < kWidth; ++i) {
    low[i] = (i & S) ? kWidth + (i ^ S) : i;
    high[i] = (i & S) ? kWidth + i : (i ^ S);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    if (i & S) continue;
    const Vec a = v[i], b = v[i + S];
    v[i] = shuffle(a, b, low);
    v[i + S] = shuffle(a, b, high);
  }
}

// The kWidth x kWidth transpose of v.
static inline void transposeBlock(Vec* v) {
#if defined(EINLINEAR_ISA_AVX512)
  exchange<8>(v);
#endif
#if defined(EINLINEAR_ISA_AVX512) || defined(EINLINEAR_ISA_AVX2)
  exchange<4>(v);
#endif
  exchange<2>(v);
  exchange<1>(v);
}

// tile[f * kLanes + lane] = rows[lane][f] for f in [0, n); lanes from `count` up get zero.
static inline void rowsToTile(const float* const* rows, int count, int64_t n, float* tile) {
  for (int lane = 0; lane < kLanes; lane += kWidth) {
    for (int64_t f = 0; f < n; f += kWidth) {
      const int width = static_cast<int>(minOf(kWidth, n - f));
      Vec v[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        if (lane + i >= count)
          v[i] = Vec{};
        else
          v[i] = width == kWidth ? load(rows[lane + i] + f) : loadPart(rows[lane + i] + f, width);
      }
      transposeBlock(v);
      for (int i = 0; i < width; ++i) store(tile + (f + i) * kLanes + lane, v[i]);
    }
  }
}

// For the first `count` lanes: rows[lane][f] = tile[f * stride + lane] for f in [0, n), or with
// `scale`, rows[lane][f] += scale[lane] * tile[f * stride + lane].
static inline void tileToRows(const float* tile, int64_t stride, int64_t n, float* const* rows,
                              int count, const float* scale) {
  for (int64_t f = 0; f < n; f += kWidth) {
    const int width = static_cast<int>(minOf(kWidth, n - f));
    for (int lane = 0; lane < count; lane += kWidth) {
      Vec v[kWidth];
      for (int i = 0; i < kWidth; ++i)
        v[i] = i < width ? load(tile + (f + i) * stride + lane) : Vec{};
      transposeBlock(v);
      const int used = static_cast<int>(minOf(kWidth, count - lane));
      for (int i = 0; i < used; ++i) {
        float* row = rows[lane + i] + f;
        Vec out = v[i];
        if (width == kWidth) {
          store(row, scale != nullptr ? load(row) + scale[lane + i] * out : out);
        } else {
          storePart(row, scale != nullptr ? loadPart(row, width) + scale[lane + i] * out : out,
                    width);
        }
      }
    }
  }
}

// tokens[lane * ts + f] = tile[f * stride + lane] for all lanes, f in [0, n), zero up to a multiple
// of kWidth.
static inline void tileToTokens(const float* tile, int64_t stride, int64_t n, float* tokens,
                                int64_t ts) {
  for (int64_t f = 0; f < n; f += kWidth) {
    const int width = static_cast<int>(minOf(kWidth, n - f));
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      Vec v[kWidth];
      for (int i = 0; i < kWidth; ++i)
        v[i] = i < width ? load(tile + (f + i) * stride + lane) : Vec{};
      transposeBlock(v);
      for (int i = 0; i < kWidth; ++i) store(tokens + (lane + i) * ts + f, v[i]);
    }
  }
}

static inline int64_t roundUp(int64_t n) { return ceilDiv(n, kWidth) * kWidth; }

// A row stride of at least n floats, padded to whole vectors, that does not map every row to the
// same cache set.
static inline int64_t rowStride(int64_t n) {
  const int64_t padded = roundUp(n);
  return padded % 256 == 0 ? padded + kWidth : padded;
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
