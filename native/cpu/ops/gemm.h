// The dense product used by matmul and by the experts.
#pragma once

#include "../context.h"
#include "../isa.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

// One product c (+)= op(a) op(b) (+ bias), or `batch` of them (strides as, bs, cs in elements).
struct Gemm {
  int64_t batch, m, n, k;
  const float* a;
  int64_t as;
  bool transA;
  const float* b;
  int64_t bs;
  bool transB;
  const float* bias;  // [n] or null
  float* c;           // [m, n], contiguous
  int64_t cs;
  bool accumulate;
};

// Uses the context's scratch slots 0 and 1.
void gemm(Context& context, const Gemm& g);

// Packs op(a)'s rows [first, first + size) as W[k, size]: row i, depth k at a[i*rs + k*ks].
void packPanel(const float* a, int64_t rs, int64_t ks, int64_t size, int64_t depth, float* w);

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
