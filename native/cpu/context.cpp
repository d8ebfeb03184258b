#include "context.h"

#include "../core/error.h"
#include "../core/pool.h"
#include "memory.h"
#include "thread_pool.h"

namespace einlinear {

Context::Context(int threads) : threads_(threads) {}

Context::~Context() { releaseScratch(); }

void Context::releaseScratch() {
  for (int slot = 0; slot < kSlots; ++slot) {
    cpu::releaseMemory(slots_[slot]);
    slots_[slot] = nullptr;
    sizes_[slot] = 0;
  }
  scratchBytes_ = 0;
}

size_t Context::scratchBytes() const { return scratchBytes_; }

int Context::workers() const { return threads_; }

void Context::run(int64_t tasks, Body body, const void* f) {
  ThreadPool::shared().run(threads_, tasks, body, f);
}

float* Context::scratch(int slot, int64_t count) {
  if (count > sizes_[slot]) {
    cpu::releaseMemory(slots_[slot]);
    scratchBytes_ -= static_cast<size_t>(sizes_[slot]) * sizeof(float);
    sizes_[slot] = 0;
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    // Beyond the limit the system might promise memory and end the process when it is used.
    slots_[slot] =
        bytes > memoryLimit() ? nullptr : static_cast<float*>(cpu::allocateMemory(bytes));
    if (slots_[slot] == nullptr)
      fail("OUT_OF_MEMORY", "Out of memory: asked for %zu bytes of scratch memory", bytes);
    sizes_[slot] = count;
    scratchBytes_ += bytes;
  }
  return slots_[slot];
}

}  // namespace einlinear
