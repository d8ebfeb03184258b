#include "ops.h"
namespace einlinear {
namespace cuda {
#define EINLINEAR_MISSING(name, Args)                      \
  __attribute__((weak)) void name(Context&, const Args&) { \
    fail("NOT_SUPPORTED", "cuda has no %s yet", #name);    \
  }
EINLINEAR_OPS(EINLINEAR_MISSING)
}  // namespace cuda
}  // namespace einlinear
