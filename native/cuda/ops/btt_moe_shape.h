// What the kernels of BTT-MoE share: the operator as two sides and two factors, each read in either
// direction, so that the gradient of the input is the forward pass of the mirror image.
//
//   z[pair, q, p] = sum over c of rows[t, p, c] * first[e, p, q, c]
//   y[t, q, s] = sum over pairs (e, w) of t, p of  w * z[pair, q, p] * second[e, p, q, s]
//
// Forward: p = gamma, c = alpha, first = A; q = phi, s = epsilon, second = B. Backward the two
// sides and the two factors change places, and the gradient of `second` is, in both directions,
//
//   dsecond[e, p, q, s] = sum over pairs (t, w) of e of  w * z[pair, q, p] * dy[t, q, s]
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../../core/einsum_shape.h"

namespace einlinear {
namespace cuda {
namespace btt {

// Rows of `width` numbers that hold `groups` x `size` of them, truncated or followed by zeros.
struct Side {
  int64_t groups, size, width;
};

// A factor's element of (expert, p, q, item) is at expert * .. + p * .. + q * .. + item * ..
struct Factor {
  int64_t expert, p, q, item;
};

struct Operator {
  int64_t experts;
  Side in, out;
  Factor first, second;

  static Operator of(const EinsumShape& shape) {
    const int64_t experts = shape.rho, gamma = shape.gamma, row = experts * gamma;
    return {experts,
            {gamma, shape.alpha, shape.dIn},
            {shape.phi, shape.epsilon, shape.dOut},
            {gamma * shape.alpha, shape.alpha, row * shape.alpha, 1},
            {gamma, 1, row * shape.epsilon, row}};
  }
  Operator mirrored() const {
    const auto other = [](const Factor& f) { return Factor{f.expert, f.q, f.p, f.item}; };
    return {experts, out, in, other(second), other(first)};
  }
  // Numbers of z for a pair.
  __host__ __device__ int64_t between() const { return in.groups * out.groups; }
};

// The k choices of every token. index, weight: [tokens, k]
struct Choices {
  int64_t tokens, k;
  const int32_t* index;
  const float* weight;
};

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
