// Launching kernels and dynamic shared memory, as native/cuda/include/gpu/launch.h, on the CPU.
#pragma once

#include <cuda_runtime.h>

#include <tuple>

#define EINLINEAR_DYNAMIC_SHARED(name) \
  unsigned char* const name = ::emulation::Block::current().shared

namespace einlinear {
namespace cuda {

template <class... Parameters>
void launchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
                  cudaStream_t stream, std::tuple<Parameters...> arguments) {
  emulation::launchGrid(stream, grid, block, sharedBytes,
                        [kernel, arguments] { std::apply(kernel, arguments); });
}

}  // namespace cuda
}  // namespace einlinear
