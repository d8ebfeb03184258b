// Loops over N strided operands of one shape, as runs along a single axis.
#pragma once

#include "../../core/dims.h"
#include "vectors.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

// Axes of a loop, outermost first. Axes of size 1 are left out, and neighbours that every operand
// crosses with one stride are one axis.
template <int N>
struct StridedLoop {
  int rank = 0;
  int64_t size[kMaxRank];
  int64_t stride[N][kMaxRank];

  void add(int64_t n, const int64_t (&strides)[N]) {
    if (n == 1) return;
    bool joins = rank > 0;
    for (int k = 0; k < N; ++k) joins = joins && stride[k][rank - 1] == n * strides[k];
    if (!joins) ++rank;
    size[rank - 1] = joins ? size[rank - 1] * n : n;
    for (int k = 0; k < N; ++k) stride[k][rank - 1] = strides[k];
  }

  // Offsets of the operands at a position counted along the first `axes` axes.
  void locate(int64_t position, int axes, int64_t (&at)[N]) const {
    for (int k = 0; k < N; ++k) at[k] = 0;
    for (int axis = axes - 1; axis >= 0; --axis) {
      const int64_t index = position % size[axis];
      position /= size[axis];
      for (int k = 0; k < N; ++k) at[k] += index * stride[k][axis];
    }
  }

  // body(at, n): n elements along the last axis, the operands starting at offsets at[0..N).
  template <class Body>
  void run(Context& context, const Body& body) const {
    const int outer = rank > 0 ? rank - 1 : 0;
    const int64_t length = rank > 0 ? size[rank - 1] : 1;
    int64_t rows = 1;
    for (int axis = 0; axis < outer; ++axis) rows *= size[axis];
    if (length > kChunk) {
      const int64_t pieces = ceilDiv(length, kChunk);
      context.parallel(rows * pieces, [&](int64_t task, int) {
        const int64_t from = task % pieces * kChunk;
        int64_t at[N];
        locate(task / pieces, outer, at);
        for (int k = 0; k < N; ++k) at[k] += from * stride[k][outer];
        body(at, minOf(kChunk, length - from));
      });
      return;
    }
    context.blocks(rows, rowsPerTask(length), [&](int64_t begin, int64_t end) {
      int64_t at[N], index[kMaxRank];
      locate(begin, outer, at);
      for (int64_t axis = outer - 1, position = begin; axis >= 0; --axis) {
        index[axis] = position % size[axis];
        position /= size[axis];
      }
      for (int64_t row = begin; row < end; ++row) {
        body(at, length);
        for (int axis = outer - 1; axis >= 0; --axis) {
          for (int k = 0; k < N; ++k) at[k] += stride[k][axis];
          if (++index[axis] < size[axis]) break;
          index[axis] = 0;
          for (int k = 0; k < N; ++k) at[k] -= size[axis] * stride[k][axis];
        }
      }
    });
  }
};

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
