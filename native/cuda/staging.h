// Page-locked host memory that copies go through: only from there do they run beside the host.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace einlinear {
namespace cuda {

class Staging {
 public:
  ~Staging();
  // At least `bytes` bytes. Throws OUT_OF_MEMORY. Any thread.
  void* take(size_t bytes);
  // Keeps the block for a later take() of the same size. Any thread.
  void give(void* block, size_t bytes);

 private:
  static size_t roundUp(size_t bytes);

  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
};

}  // namespace cuda
}  // namespace einlinear
