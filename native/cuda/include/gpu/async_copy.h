// cp.async: copies of 16 bytes from global to shared memory that run beside the thread that asked
// for them. native/emulation/include has the same header for the CPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace einlinear {
namespace cuda {

// Copies 16 bytes, or fills with zeros unless `valid` (then `global` is not read). Both addresses
// are 16-byte aligned. Undefined until the group it is committed to has been waited for, and then
// seen by this thread only: other threads need a barrier too.
__device__ __forceinline__ void copyAsync16(void* shared, const void* global, bool valid) {
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}

// As copyAsync16 for 4 bytes, 4-byte aligned.
__device__ __forceinline__ void copyAsync4(void* shared, const void* global, bool valid) {
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}

// Closes this thread's group of copies; it may be empty.
__device__ __forceinline__ void commitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `InFlight` of this thread's groups, the newest, have not landed.
template <int InFlight>
__device__ __forceinline__ void waitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(InFlight) : "memory");
}

}  // namespace cuda
}  // namespace einlinear
