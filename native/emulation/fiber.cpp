#include "fiber.h"

#include <cstdint>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define EMULATION_ASAN 1
#else
#define EMULATION_ASAN 0
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

#if defined(__x86_64__)

// Saves the callee-saved registers on the stack, the stack pointer in *save, and continues at `to`.
extern "C" void emulationSwitch(void** save, void* to);
asm(R"(
.text
.globl emulationSwitch
.hidden emulationSwitch
.type emulationSwitch,@function
emulationSwitch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulationSwitch,.-emulationSwitch
)");

void startFiber(Fiber& fiber, char* stack, size_t size, void (*entry)()) {
#if EMULATION_ASAN
  __asan_unpoison_memory_region(stack, size);
#endif
  const uintptr_t top = reinterpret_cast<uintptr_t>(stack + size) & ~uintptr_t{15};
  void** frame = reinterpret_cast<void**>(top);
  *--frame = nullptr;  // entry's return address: it never returns
  *--frame = reinterpret_cast<void*>(entry);
  frame -= 6;
  std::memset(frame, 0, 6 * sizeof(void*));
  fiber = Fiber{frame, stack, size, nullptr};
}

#else

// Slower (two system calls a switch), for any other processor.
static void emulationSwitch(void** save, void* to) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

void startFiber(Fiber& fiber, char* stack, size_t size, void (*entry)()) {
#if EMULATION_ASAN
  __asan_unpoison_memory_region(stack, size);
#endif
  // The context lives at the bottom of the stack, which it does not use.
  ucontext_t* context = reinterpret_cast<ucontext_t*>(stack);
  getcontext(context);
  context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
  context->uc_stack.ss_size = size - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  fiber = Fiber{context, stack, size, nullptr};
}

#endif

void switchFiber(Fiber& from, Fiber& to, bool ends) {
#if EMULATION_ASAN
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fakeStack, to.bottom, to.size);
#endif
  (void)ends;
  emulationSwitch(&from.stackPointer, to.stackPointer);
#if EMULATION_ASAN
  __sanitizer_finish_switch_fiber(from.fakeStack, nullptr, nullptr);
#endif
}

void fiberEntered(Fiber& from) {
#if EMULATION_ASAN
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (from.bottom == nullptr) {
    from.bottom = bottom;
    from.size = size;
  }
#endif
  (void)from;
}

}  // namespace emulation
