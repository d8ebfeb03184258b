// Declares every op of the table (native/core/ops.h) for the instruction set being compiled.
#pragma once

#include "../../core/error.h"
#include "../../core/ops.h"
#include "../context.h"
#include "../isa.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

#define EINLINEAR_DECLARE_OP(name, Args) void name(Context&, const Args&);
EINLINEAR_OPS(EINLINEAR_DECLARE_OP)
#undef EINLINEAR_DECLARE_OP

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
