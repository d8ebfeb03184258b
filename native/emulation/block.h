// One emulated CUDA block: its threads are fibers of one OS thread, so a block is deterministic,
// and shared memory is thread-local memory. Barriers, warp collectives and asynchronous copies are
// here; the CUDA names for them stand in include/.
//
// What is wrong in a kernel ends the process with a report: a deadlock, lanes of one warp that meet
// in different collectives, a mask that names lanes that do not exist.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "fiber.h"
#include "types.h"

namespace emulation {

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;
constexpr int kBarriers = 16;

enum class Wait { none, barrier, syncWarp, shuffle, vote, loadMatrix, mma };

struct AsyncCopy {
  void* destination;
  const void* source;
  int bytes, valid;  // the rest is filled with zeros
};

struct Thread {
  Fiber fiber;
  uint3 index{};
  bool done = false;
  Wait wait = Wait::none;
  uint32_t mask = 0;
  std::vector<AsyncCopy> open;                // not yet committed
  std::deque<std::vector<AsyncCopy>> groups;  // committed, in flight
};

// What the lanes of a mask wait for together. The last to arrive runs the work of all.
struct Meeting {
  Wait kind = Wait::none;
  uint32_t mask = 0, arrived = 0;
  void* arguments[kWarp] = {};
};

class Block {
 public:
  Block(dim3 grid, dim3 dimensions, size_t sharedBytes, uint64_t seed);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Runs every thread of the block at `index` of the grid to its end.
  void run(uint3 index, const std::function<void()>& body);

  // ---- for the running thread ----
  static Block& current() { return *running_; }
  Thread& thread() { return threads_[static_cast<size_t>(at_)]; }
  int linear() const { return at_; }
  int lane() const { return at_ % kWarp; }

  // Waits for `count` threads at barrier `id`; count < 0: all that have not ended.
  void barrier(int id, int count);
  // Meets the other lanes of `mask` in a collective; work(arguments, mask) sees the argument of
  // each.
  using Work = void (*)(void* const* arguments, uint32_t mask);
  void meet(Wait kind, uint32_t mask, void* argument, Work work);

  // cp.async: lands when the group is waited for, and not before; until then the destination is
  // NaN.
  void copyAsync(const AsyncCopy& copy);
  void commitCopies();
  void waitCopies(int groupsInFlight);

  const dim3 grid, dimensions;
  uint3 index{};
  unsigned char* shared = nullptr;  // dynamic shared memory, poisoned with NaN at the start

 private:
  struct Barrier {
    int arrived = 0;
    std::vector<int> waiting;
  };

  static void entry();
  int next();
  void wake(int thread) { ready_.push_back(thread); }
  void pause(Wait wait, uint32_t mask);
  void release(Barrier& barrier);
  [[noreturn]] void wrong(const char* what, uint32_t mask);
  [[noreturn]] void deadlock();

  static thread_local Block* running_;

  const int count_;
  const size_t sharedBytes_;
  std::vector<Thread> threads_;
  std::vector<Meeting> meetings_;  // a few for each warp
  Barrier barriers_[kBarriers];
  std::deque<int> ready_;
  uint64_t random_;
  // Threads take turns; one warp runs ahead as far as it can, the last one first; or any thread is
  // next.
  enum class Order { turns, ahead, random } order_;
  int at_ = -1, live_ = 0;
  Fiber scheduler_;
  char* stacks_ = nullptr;
  const std::function<void()>* body_ = nullptr;
};

}  // namespace emulation
