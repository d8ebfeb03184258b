// Loops over an array a vector at a time, the last, partial vector included.
//
//   vectors(begin, end, [&](int64_t i, auto part) { part.put(y + i, f(part.get(x + i))); });
//
// `part` reads and writes the kWidth elements at i, or at the end only those that are left (the
// other lanes read as zero).
#pragma once

#include "../context.h"
#include "../isa.h"
#include "math.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

constexpr int64_t kChunk = 16384;  // elements of a task: enough to pay for it, few enough to share

struct Whole {
  static inline Vec get(const float* p) { return load(p); }
  static inline void put(float* p, Vec v) { store(p, v); }
  // v in the lanes there are, `other` in the rest.
  static inline Vec only(Vec v, float /*other*/) { return v; }
};

struct Part {
  int count;

#if defined(EINLINEAR_ISA_AVX512)
  inline __mmask16 mask() const { return static_cast<__mmask16>((1u << count) - 1u); }
  inline Vec get(const float* p) const { return (Vec)_mm512_maskz_loadu_ps(mask(), p); }
  inline void put(float* p, Vec v) const { _mm512_mask_storeu_ps(p, mask(), (__m512)v); }
#elif defined(EINLINEAR_ISA_AVX2)
  inline __m256i mask() const { return (__m256i)(lane() < count); }
  inline Vec get(const float* p) const { return (Vec)_mm256_maskload_ps(p, mask()); }
  inline void put(float* p, Vec v) const { _mm256_maskstore_ps(p, mask(), (__m256)v); }
#else
  inline Vec get(const float* p) const { return loadPart(p, count); }
  inline void put(float* p, Vec v) const { storePart(p, v, count); }
#endif
  inline Vec only(Vec v, float other) const { return lane() < count ? v : splat(other); }

 private:
  static inline IVec lane() {
    IVec v;
    for (int i = 0; i < kWidth; ++i) v[i] = i;
    return v;
  }
};

template <class Body>
static inline void vectors(int64_t begin, int64_t end, const Body& body) {
  int64_t i = begin;
  for (; i + kWidth <= end; i += kWidth) body(i, Whole{});
  if (i < end) body(i, Part{static_cast<int>(end - i)});
}

// vectors() over [0, count) on the context's threads.
template <class Body>
static inline void parallelVectors(Context& context, int64_t count, const Body& body) {
  context.blocks(count, kChunk, [&](int64_t begin, int64_t end) { vectors(begin, end, body); });
}

// Rows of a task: those that make up a chunk.
static inline int64_t rowsPerTask(int64_t cols) { return maxOf(1, kChunk / maxOf(1, cols)); }

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
