// Turns what the CUDA run time answers into our error.
#pragma once

#include <cuda_runtime.h>

#include "../core/error.h"

namespace einlinear {
namespace cuda {

// Throws CUDA_ERROR naming the call and CUDA's own error unless all is well.
inline void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not find it again
  fail("CUDA_ERROR", "%s failed: %s (%s)", call, cudaGetErrorName(error),
       cudaGetErrorString(error));
}

}  // namespace cuda
}  // namespace einlinear
