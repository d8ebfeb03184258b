// A caching allocator over a device's memory; a thin one where the device orders memory itself.
//
// Blocks are recycled in queue order: a freed block may be handed out at once, because whatever
// still reads it was queued before whatever will write it. One thread (the one that enqueues).
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "device.h"

namespace einlinear {

struct Block {
  void* data = nullptr;
  size_t size = 0;  // at least what was asked for
};

class Pool {
 public:
  explicit Pool(Device& device) : device_(device) {}

  // Throws OUT_OF_MEMORY with the sizes, after giving the cache back and trying once more.
  Block allocate(size_t bytes);
  void free(const Block& block, size_t bytes);
  // Gives cached blocks back to the system; the queue must be idle.
  void trim();

  size_t liveBlocks() const { return liveBlocks_; }
  size_t liveBytes() const { return liveBytes_; }
  size_t reservedBytes() const { return reservedBytes_ + device_.reservedBytes(); }

  // Block sizes are rounded up to eight steps a doubling, so that nearly equal sizes share blocks.
  static size_t roundUp(size_t bytes);

 private:
  Block take(size_t size);
  // Whether the cache should be given back before `size` more are asked of the system.
  bool hoards(size_t size);
  void drain();

  Device& device_;
  std::map<size_t, std::vector<void*>> cache_;  // by size; no empty lists
  size_t liveBlocks_ = 0, liveBytes_ = 0, reservedBytes_ = 0;
  // What reserved memory may come to, as a multiple of the live bytes' peak; see hoards().
  size_t allowance_ = kAllowance;
  size_t peakBytes_ = 0;
  size_t servedBytes_ = 0, servedPeak_ = 0;  // since the cache was last given back; the peak then

  static constexpr size_t kAllowance = 2;
};

// The most host memory this process may use: physical memory or the control group's limit.
size_t memoryLimit();

}  // namespace einlinear
