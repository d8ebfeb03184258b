#include "pool.h"

#include <condition_variable>
#include <fstream>
#include <mutex>

#include "control_group.h"

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace einlinear {

size_t Pool::roundUp(size_t bytes) {
  if (bytes <= 512) return 512;
  size_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

// A cached block, or a fresh one while the limit allows it; null otherwise.
void* Pool::take(size_t size) {
  if (device_.ordersMemory()) return device_.allocate(size);
  const auto cached = cache_.find(size);
  if (cached != cache_.end() && !cached->second.empty()) {
    void* block = cached->second.back();
    cached->second.pop_back();
    return block;
  }
  const size_t limit = device_.memoryLimit();
  if (size > limit || reservedBytes_ > limit - size) return nullptr;
  void* block = device_.allocate(size);
  if (block != nullptr) reservedBytes_ += size;
  return block;
}

void* Pool::allocate(size_t bytes) {
  const size_t size = device_.ordersMemory() ? bytes + (bytes == 0) : roundUp(bytes);
  void* block = take(size);
  if (block == nullptr) {
    drain();
    trim();
    block = take(size);
  }
  if (block == nullptr) {
    fail("OUT_OF_MEMORY",
         "Out of memory: asked for %zu bytes with %zu bytes live in %zu tensors (limit %zu bytes)",
         bytes, liveBytes_, liveBlocks_, device_.memoryLimit());
  }
  ++liveBlocks_;
  liveBytes_ += bytes;
  return block;
}

void Pool::free(void* block, size_t bytes) {
  if (device_.ordersMemory())
    device_.release(block);
  else
    cache_[roundUp(bytes)].push_back(block);
  --liveBlocks_;
  liveBytes_ -= bytes;
}

void Pool::trim() {
  for (auto& entry : cache_) {
    for (void* block : entry.second) {
      device_.release(block);
      reservedBytes_ -= entry.first;
    }
  }
  cache_.clear();
  device_.trim();
}

void Pool::drain() {
  std::mutex mutex;
  std::condition_variable reached;
  bool done = false;
  device_.download(nullptr, nullptr, 0, [&](const PendingError*) {
    std::lock_guard<std::mutex> lock(mutex);
    done = true;
    reached.notify_one();
  });
  std::unique_lock<std::mutex> lock(mutex);
  reached.wait(lock, [&] { return done; });
}

size_t memoryLimit() {
  static const size_t limit = [] {
    size_t bytes = static_cast<size_t>(-1);
#if !defined(_WIN32)
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
    if (pages > 0 && size > 0) bytes = static_cast<size_t>(pages) * static_cast<size_t>(size);
#endif
    for (const std::string& folder : controlGroups("memory")) {
      for (const char* name : {"/memory.max", "/memory.limit_in_bytes"}) {  // versions 2 and 1
        size_t group = 0;
        std::ifstream file(folder + name);
        if (file >> group && group > 0 && group < bytes) bytes = group;
      }
    }
    return bytes;
  }();
  return limit;
}

}  // namespace einlinear
