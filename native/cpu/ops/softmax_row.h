// The pieces of a row's softmax that softmax, cross-entropy and routing share.
#pragma once

#include "fold.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

// The largest of x[0..n), NaN if one is NaN (then everything made from it is NaN, as it should be).
static inline float rowMax(const float* x, int64_t n) {
  return static_cast<float>(fold<Max>(0, n, [&](int64_t i, auto part) { return part.get(x + i); }));
}

// Sum of exp(x - top).
static inline double rowExpSum(const float* x, int64_t n, float top) {
  return fold<Sum>(0, n, [&](int64_t i, auto part) { return exp(part.get(x + i) - top); });
}

// The same, leaving the terms in y.
static inline double rowExp(const float* x, int64_t n, float top, float* y) {
  return fold<Sum>(0, n, [&](int64_t i, auto part) {
    const Vec e = exp(part.get(x + i) - top);
    part.put(y + i, e);
    return e;
  });
}

static inline void rowScale(float* y, int64_t n, float factor) {
  vectors(0, n, [&](int64_t i, auto part) { part.put(y + i, part.get(y + i) * factor); });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
