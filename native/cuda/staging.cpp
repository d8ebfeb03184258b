#include "staging.h"

#include <cuda_runtime.h>

#include "../core/error.h"

namespace einlinear {
namespace cuda {

Staging::~Staging() {
  for (auto& entry : free_)
    for (void* block : entry.second) cudaFreeHost(block);
}

size_t Staging::roundUp(size_t bytes) {
  size_t size = 256;
  while (size < bytes) size *= 2;
  return size;
}

void* Staging::take(size_t bytes) {
  const size_t size = roundUp(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<void*>& blocks = free_[size];
  if (!blocks.empty()) {
    void* block = blocks.back();
    blocks.pop_back();
    return block;
  }
  void* block = nullptr;
  if (cudaMallocHost(&block, size) != cudaSuccess) {
    cudaGetLastError();
    fail("OUT_OF_MEMORY", "Out of memory: asked for %zu bytes of page-locked host memory", size);
  }
  return block;
}

void Staging::give(void* block, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  free_[roundUp(bytes)].push_back(block);
}

}  // namespace cuda
}  // namespace einlinear
