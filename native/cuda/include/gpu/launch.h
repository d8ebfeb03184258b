// Launching kernels and dynamic shared memory. native/emulation/include has the same header for the
// CPU; the include path decides which of the two a build sees.
#pragma once

#include <cuda_runtime.h>

#include <tuple>

// Declares `name`, the block's dynamic shared memory, in a kernel.
#define EINLINEAR_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

namespace einlinear {
namespace cuda {

template <class... Parameters>
void launchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
                  cudaStream_t stream, std::tuple<Parameters...> arguments) {
  constexpr size_t kWithoutAsking = 48 * 1024;
  const void* function = reinterpret_cast<const void*>(kernel);
  if (sharedBytes > kWithoutAsking)
    cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(sharedBytes));
  std::apply(
      [&](auto&... each) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&each))...};
        cudaLaunchKernel(function, grid, block, pointers, sharedBytes, stream);
      },
      arguments);
}

}  // namespace cuda
}  // namespace einlinear
