// Stacks that one OS thread switches between by hand: the threads of an emulated CUDA block.
#pragma once

#include <cstddef>

namespace emulation {

struct Fiber {
  void* stackPointer = nullptr;
  // Bounds of its stack, for AddressSanitizer; an OS thread's own are learnt at the first switch.
  const void* bottom = nullptr;
  size_t size = 0;
  void* fakeStack = nullptr;
};

// Makes `fiber` begin with entry() on the given stack when it is first switched to. entry must not
// return: it ends with switchFiber(..., true).
void startFiber(Fiber& fiber, char* stack, size_t size, void (*entry)());

// Leaves `from` (the running one) for `to`; comes back when somebody switches to `from`. With
// `ends`, `from` is never switched to again.
void switchFiber(Fiber& from, Fiber& to, bool ends = false);

// What entry() calls first; `from` is the fiber that switched to it.
void fiberEntered(Fiber& from);

}  // namespace emulation
