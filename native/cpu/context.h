// What a CPU op runs with: the worker threads and scratch memory of its stream.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace einlinear {

class ThreadPool;

class Context {
 public:
  explicit Context(int threads);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Runs body(task, worker) for task in [0, tasks) on the stream's threads and waits; worker is in
  // [0, workers()). Which worker gets a task is not fixed, so a result may depend on `task` only:
  // cut the work by shape, never by thread count. `body` must not throw.
  template <class F>
  void parallel(int64_t tasks, const F& body) {
    run(
        tasks,
        [](const void* f, int64_t task, int worker) { (*static_cast<const F*>(f))(task, worker); },
        &body);
  }

  // parallel() over [0, count) in blocks of `block`: body(begin, end).
  template <class F>
  void blocks(int64_t count, int64_t block, const F& body) {
    parallel((count + block - 1) / block, [&](int64_t task, int) {
      const int64_t begin = task * block;
      body(begin, begin + block < count ? begin + block : count);
    });
  }

  int workers() const;

  // Scratch memory, 64-byte aligned, uninitialised, kept for the next op. Each slot is one
  // allocation: a second call with the same slot may move it. Slots of an op are its own to number
  // from 0; valid until the op returns. Call it from the op, not from inside parallel().
  float* scratch(int slot, int64_t count);

  // Gives all scratch memory back.
  void releaseScratch();

  // Bytes of scratch memory; any thread.
  size_t scratchBytes() const;

  static constexpr int kSlots = 12;

 private:
  using Body = void (*)(const void* f, int64_t task, int worker);
  void run(int64_t tasks, Body body, const void* f);

  int threads_;
  float* slots_[kSlots] = {};
  int64_t sizes_[kSlots] = {};
  std::atomic<size_t> scratchBytes_{0};
};

}  // namespace einlinear
