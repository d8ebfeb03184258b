// Every op file of native/cpu is compiled once per instruction set; this header gives each copy its
// own namespace and vector type. Such a file must not emit code that another copy could share: no
// std:: templates, no non-template inline functions outside EINLINEAR_ISA (the linker would keep
// one copy, maybe one that this processor cannot run). test/native checks the object files for
// that.
#pragma once

#include <cstdint>

#if defined(EINLINEAR_ISA_AVX512)
#define EINLINEAR_ISA avx512
#elif defined(EINLINEAR_ISA_AVX2)
#define EINLINEAR_ISA avx2
#else
#define EINLINEAR_ISA portable
#endif

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

#if defined(EINLINEAR_ISA_AVX512)
constexpr int kWidth = 16;    // floats in a vector
constexpr int kMaxRows = 14;  // rows of the micro-kernel's register block (times two vectors)
#elif defined(EINLINEAR_ISA_AVX2)
constexpr int kWidth = 8;
constexpr int kMaxRows = 6;
#else
constexpr int kWidth = 4;
constexpr int kMaxRows = 6;
#endif

typedef float Vec __attribute__((vector_size(kWidth * 4)));
typedef int32_t IVec __attribute__((vector_size(kWidth * 4)));
typedef float VecU __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef int32_t IVecU __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

static inline Vec load(const float* p) { return *reinterpret_cast<const VecU*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<VecU*>(p) = v; }
static inline Vec splat(float s) { return s - Vec{}; }

static inline Vec loadPart(const float* p, int n) {
  Vec v = {};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
static inline void storePart(float* p, Vec v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}
// Lane i of the result is lane pick[i] of a followed by b. `pick` is a constant where this is used,
// so that it becomes one instruction, by the compiler's folding where there is no built-in function
// for it.
static inline Vec shuffle(Vec a, Vec b, IVec pick) {
#if defined(__clang__)
  Vec v = {};
  for (int i = 0; i < kWidth; ++i) v[i] = pick[i] < kWidth ? a[pick[i]] : b[pick[i] - kWidth];
  return v;
#else
  return __builtin_shuffle(a, b, pick);
#endif
}
static inline float sum(Vec v) {
  float lanes[kWidth];
  store(lanes, v);
  for (int half = kWidth / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}
static inline int64_t minOf(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t maxOf(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
