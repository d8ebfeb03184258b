#include "context.h"

namespace einlinear {

using cuda::check;

Context::Context(int device) {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute");
  void* status = nullptr;
  check(cudaMallocAsync(&status, sizeof(cuda::Status), stream_), "cudaMallocAsync");
  status_ = static_cast<cuda::Status*>(status);
  check(cudaMemsetAsync(status_, 0, sizeof(cuda::Status), stream_), "cudaMemsetAsync");
}

Context::~Context() {
  releaseScratch();
  if (status_ != nullptr) cudaFreeAsync(status_, stream_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void* Context::scratchBytes(int slot, int64_t bytes) {
  if (bytes <= sizes_[slot]) return slots_[slot];
  if (slots_[slot] != nullptr) cudaFreeAsync(slots_[slot], stream_);
  slots_[slot] = nullptr;
  sizes_[slot] = 0;
  if (cudaMallocAsync(&slots_[slot], static_cast<size_t>(bytes), stream_) != cudaSuccess) {
    cudaGetLastError();
    slots_[slot] = nullptr;
    fail("OUT_OF_MEMORY", "Out of memory: an op asked for %lld bytes of scratch memory",
         static_cast<long long>(bytes));
  }
  sizes_[slot] = bytes;
  return slots_[slot];
}

void Context::releaseScratch() {
  for (int slot = 0; slot < kSlots; ++slot) {
    if (slots_[slot] != nullptr) cudaFreeAsync(slots_[slot], stream_);
    slots_[slot] = nullptr;
    sizes_[slot] = 0;
  }
}

}  // namespace einlinear
