#include "pool.h"

#include <algorithm>
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

// A cached block up to a quarter larger, or a fresh one while the limit allows it; null otherwise.
Block Pool::take(size_t size) {
  if (device_.ordersMemory()) return {device_.allocate(size), size};
  const auto cached = cache_.lower_bound(size);
  if (cached != cache_.end() && cached->first - size <= size / 4) {
    const Block block{cached->second.back(), cached->first};
    cached->second.pop_back();
    if (cached->second.empty()) cache_.erase(cached);
    return block;
  }
  const size_t limit = device_.memoryLimit();
  if (size > limit || reservedBytes_ > limit - size) return {};
  if (hoards(size)) {
    drain();
    trim();
  }
  const Block block{device_.allocate(size), size};
  if (block.data != nullptr) reservedBytes_ += size;
  return block;
}

// Giving back costs a wait and fresh pages later. That is little beside what was served in between,
// unless it comes again soon with the same peak: then the steps of the program need so many sizes
// in turn, and the cache may hold more.
bool Pool::hoards(size_t size) {
  constexpr size_t kSlack = size_t{64} << 20;
  constexpr size_t kSeldom = 32;
  if (cache_.empty()) return false;
  const size_t peak = std::max(peakBytes_, liveBytes_ + size);
  while (reservedBytes_ + size > allowance_ * peak + kSlack) {
    const bool grown = peak > servedPeak_ + servedPeak_ / 32;
    const bool seldom = servedBytes_ / kSeldom > allowance_ * peak + kSlack;
    if (grown || seldom) {
      allowance_ = kAllowance;
      servedBytes_ = 0;
      servedPeak_ = peak;
      return true;
    }
    allowance_ *= 2;
  }
  return false;
}

Block Pool::allocate(size_t bytes) {
  const size_t size = device_.ordersMemory() ? bytes + (bytes == 0) : roundUp(bytes);
  Block block = take(size);
  if (block.data == nullptr) {
    drain();
    trim();
    block = take(size);
  }
  if (block.data == nullptr) {
    fail("OUT_OF_MEMORY",
         "Out of memory: asked for %zu bytes with %zu bytes live in %zu tensors (limit %zu bytes)",
         bytes, liveBytes_, liveBlocks_, device_.memoryLimit());
  }
  ++liveBlocks_;
  liveBytes_ += bytes;
  peakBytes_ = std::max(peakBytes_, liveBytes_);
  servedBytes_ += size;
  return block;
}

void Pool::free(const Block& block, size_t bytes) {
  if (device_.ordersMemory())
    device_.release(block.data);
  else
    cache_[block.size].push_back(block.data);
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
