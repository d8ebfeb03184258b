// The two-factor einsum as strided-batched products: for sizes the fused kernels do not like.
#pragma once

#include "../core/ops.h"
#include "context.h"

namespace einlinear {
namespace cuda {

// For every shape. Use scratch slots from kGemmScratch on.
void einsumByGemm(Context& context, const EinsumArgs& args);
void einsumBackwardByGemm(Context& context, const EinsumBackwardArgs& args);

}  // namespace cuda
}  // namespace einlinear
