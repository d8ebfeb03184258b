// The op table of CUDA.
#include "ops.h"

namespace einlinear {
namespace cuda {

const OpTable& table() {
  static const OpTable ops = {
#define EINLINEAR_OP_ENTRY(name, Args) name,
      EINLINEAR_OPS(EINLINEAR_OP_ENTRY)
#undef EINLINEAR_OP_ENTRY
  };
  return ops;
}

}  // namespace cuda
}  // namespace einlinear
