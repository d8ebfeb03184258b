// The process's worker threads, shared by every CPU device, so that several devices (one for each
// JavaScript thread) do not oversubscribe the machine.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace einlinear {

class ThreadPool {
 public:
  using Body = void (*)(const void* f, int64_t task, int worker);

  static ThreadPool& shared();

  // Runs body(f, task, worker) for every task with at most `threads` threads, the caller being
  // worker 0, and waits. When another device holds the pool the caller does all the work alone.
  void run(int threads, int64_t tasks, Body body, const void* f);

 private:
  struct Job {
    int64_t tasks;
    Body body;
    const void* f;
    int helpers;  // how many threads may join
    std::atomic<int64_t> next{0};
    std::atomic<int> joined{0};
  };

  void work(Job& job, int worker);
  void serve();
  void grow(int threads);

  std::mutex busy_;   // held while a job runs
  std::mutex mutex_;  // guards everything below
  std::condition_variable wake_, idle_;
  std::atomic<uint64_t> generation_{0};
  Job* job_ = nullptr;
  int inside_ = 0;  // helpers that hold the job
  int threads_ = 0;
};

// EINLINEAR_THREADS, or the cores of the affinity mask and control group; at least 1.
int defaultThreads();

}  // namespace einlinear
