// The op table of this instruction set.
#include "../dispatch.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

const OpTable* table() {
  static const OpTable ops = {
#define EINLINEAR_OP_ENTRY(name, Args) name,
      EINLINEAR_OPS(EINLINEAR_OP_ENTRY)
#undef EINLINEAR_OP_ENTRY
  };
  return &ops;
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
