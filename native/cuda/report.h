// Device side of status.h.
#pragma once

#include <cuda_runtime.h>

#include "status.h"

namespace einlinear {
namespace cuda {

// Notes a problem unless another was noted before.
__device__ inline void report(Status* status, Problem problem, int64_t value, int64_t limit,
                              int64_t position) {
  if (atomicCAS(&status->problem, 0, static_cast<int>(problem)) != 0) return;
  status->value = value;
  status->limit = limit;
  status->position = position;
}

// Whether `index` is in [0, limit); notes it if not. An index that is not must not be used.
__device__ inline bool checkIndex(Status* status, Problem problem, int64_t index, int64_t limit,
                                  int64_t position) {
  if (index >= 0 && index < limit) return true;
  report(status, problem, index, limit, position);
  return false;
}

}  // namespace cuda
}  // namespace einlinear
