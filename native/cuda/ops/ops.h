// Declares every op of the table (native/core/ops.h) for CUDA.
#pragma once

#include "../../core/error.h"
#include "../../core/ops.h"
#include "../context.h"

namespace einlinear {
namespace cuda {

#define EINLINEAR_DECLARE_OP(name, Args) void name(Context&, const Args&);
EINLINEAR_OPS(EINLINEAR_DECLARE_OP)
#undef EINLINEAR_DECLARE_OP

const OpTable& table();

}  // namespace cuda
}  // namespace einlinear
