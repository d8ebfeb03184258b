// What a CUDA op runs with: its stream, scratch memory, and facts about the device.
#pragma once

#include <cuda_runtime.h>
#include <gpu/launch.h>

#include <cstdint>
#include <tuple>

#include "../core/device.h"
#include "check.h"
#include "status.h"

namespace einlinear {

class Context {
 public:
  explicit Context(int device);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  cudaStream_t stream() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }
  // Where kernels report problems; device memory.
  cuda::Status* status() const { return status_; }
  // How products may round: the op being launched was called under this setting.
  Compute compute() const { return compute_; }
  void setCompute(Compute compute) { compute_ = compute; }

  // Queues a kernel; a grid with nothing in it is left out. Throws CUDA_ERROR.
  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
              const Arguments&... arguments) {
    static_assert(sizeof...(Parameters) == sizeof...(Arguments), "one argument a parameter");
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    cuda::launchKernel(kernel, grid, block, sharedBytes, stream_,
                       std::tuple<Parameters...>(static_cast<Parameters>(arguments)...));
    cuda::check(cudaGetLastError(), "launching a kernel");
  }

  // Uninitialised device memory for `count` T, 256-byte aligned, kept for the next op, valid until
  // the op's last kernel. Each slot is one allocation: a second call with the same slot may move
  // it. Slots of an op are its own to number from 0. Throws OUT_OF_MEMORY.
  template <class T>
  T* scratch(int slot, int64_t count) {
    return static_cast<T*>(scratchBytes(slot, times(count, static_cast<int64_t>(sizeof(T)))));
  }
  void releaseScratch();

  static constexpr int kSlots = 12;

 private:
  void* scratchBytes(int slot, int64_t bytes);

  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0;
  cuda::Status* status_ = nullptr;
  Compute compute_ = Compute::float32;
  void* slots_[kSlots] = {};
  int64_t sizes_[kSlots] = {};
};

}  // namespace einlinear
