// The fused kernels' side of bttMoe and bttMoeBackward, for an arithmetic of einsum_math.h.
#pragma once

#include "btt_moe_shape.h"
#include "ops.h"

namespace einlinear {
namespace cuda {

struct Bf16;
struct Tf32;
struct Float32;

namespace btt {

// Each is false, with nothing done, if no tile holds the shape.
template <class Math>
bool fusedForward(Context& context, const Operator& op, const Choices& choices,
                  const BttMoeArgs& args);
template <class Math>
bool fusedBackward(Context& context, const Operator& op, const Choices& choices,
                   const BttMoeBackwardArgs& args);  // all but dbias

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
