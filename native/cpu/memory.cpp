#include "memory.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace einlinear {
namespace cpu {

void* allocateMemory(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
#if defined(_WIN32)
  return _aligned_malloc(bytes == 0 ? 64 : bytes, alignment);
#else
  void* block = nullptr;
  if (posix_memalign(&block, alignment, bytes == 0 ? 64 : bytes) != 0) return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Advice only: where huge pages are off, small ones serve.
  if (bytes >= kHugePage) (void)madvise(block, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return block;
#endif
}

void releaseMemory(void* block) {
#if defined(_WIN32)
  _aligned_free(block);
#else
  std::free(block);
#endif
}

}  // namespace cpu
}  // namespace einlinear
