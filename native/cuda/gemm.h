// The dense product behind every op that multiplies matrices: strided, batched, for any shape.
#pragma once

#include <cstdint>

#include "context.h"

namespace einlinear {
namespace cuda {

// Where elements of a matrix lie, in elements: from row to row, from column to column, from one
// batch entry to the next (two nested extents), and from one term of a sum of products to the next.
// A stride of 0 shares; strides need not be ordered, so a transpose costs nothing.
struct Strides {
  int64_t row = 0, column = 0, outer = 0, inner = 0, sum = 0;
};

// What the row offsets of groups cut, where there are any.
enum class Grouping { none, rows, depth };

// c[o, i] = sum over s of a[o, i, s] b[o, i, s] (+ bias[o, i]) (+ c[o, i] with `accumulate`), for
// all o < outer, i < inner, s < sums; a is m x k, b is k x n.
//
// With a grouping, entry o of the outer batch has only the rows (of a, c and the bias) or the
// depths (columns of a, rows of b) in [offsets[o], offsets[o + 1]); positions count from the first
// group's first, m or k is the number of all together, inner and sums are 1. The offsets lie in
// device memory and ascend from 0 to that number, or are all 0 and nothing is computed.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  int64_t outer = 1, inner = 1, sums = 1;
  const float* a = nullptr;
  Strides aStrides;
  const float* b = nullptr;
  Strides bStrides;
  const float* bias = nullptr;  // or none
  Strides biasStrides;
  float* c = nullptr;
  Strides cStrides;  // c has no two elements in one place
  bool accumulate = false;
  Grouping grouping = Grouping::none;
  const int32_t* offsets = nullptr;  // [outer + 1]
};

// Rounds operands as context.compute() says; sums are float32, added in an order that depends on
// the shapes alone. Uses kGemmScratch.
void gemm(Context& context, const Gemm& g);

// Scratch slots from this one on belong to what many ops call: gemm() and columnSums() use it,
// einsum_gemm.cu the ones behind it.
constexpr int kGemmScratch = 6;

}  // namespace cuda
}  // namespace einlinear
