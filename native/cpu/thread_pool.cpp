#include "thread_pool.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "../core/control_group.h"
#include "../core/error.h"

namespace einlinear {
namespace {

constexpr int kMaxThreads = 1024;
// A helper that has just worked looks this often for the next job before it sleeps: ops of a step
// follow one another within microseconds, and waking a thread costs more than that.
constexpr int kSpins = 2000;

inline void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool& ThreadPool::shared() {
  // Never destroyed: its threads outlive every device and end with the process.
  static ThreadPool* pool = new ThreadPool;
  return *pool;
}

void ThreadPool::grow(int threads) {
  while (threads_ < threads) {
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      return;  // no more threads to be had: those there are do the work
    }
    ++threads_;
  }
}

void ThreadPool::work(Job& job, int worker) {
  for (;;) {
    const int64_t task = job.next.fetch_add(1, std::memory_order_relaxed);
    if (task >= job.tasks) return;
    job.body(job.f, task, worker);
  }
}

void ThreadPool::run(int threads, int64_t tasks, Body body, const void* f) {
  if (threads > tasks) threads = static_cast<int>(tasks);
  std::unique_lock<std::mutex> busy(busy_, std::defer_lock);
  if (threads <= 1 || !busy.try_lock()) {
    for (int64_t task = 0; task < tasks; ++task) body(f, task, 0);
    return;
  }
  Job job;
  job.tasks = tasks;
  job.body = body;
  job.f = f;
  job.helpers = threads - 1;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    grow(threads - 1);
    job_ = &job;
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  work(job, 0);
  std::unique_lock<std::mutex> lock(mutex_);
  job_ = nullptr;
  idle_.wait(lock, [this] { return inside_ == 0; });
}

void ThreadPool::serve() {
  uint64_t seen = 0;
  for (;;) {
    for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin)
      relax();
    Job* job = nullptr;
    int worker = 0;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
      seen = generation_.load(std::memory_order_relaxed);
      if (job_ == nullptr) continue;
      worker = 1 + job_->joined.fetch_add(1, std::memory_order_relaxed);
      if (worker > job_->helpers) continue;
      job = job_;
      ++inside_;
    }
    work(*job, worker);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      --inside_;
    }
    idle_.notify_one();
  }
}

int defaultThreads() {
  if (const char* text = std::getenv("EINLINEAR_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (end == text || *end != '\0' || n < 1 || n > kMaxThreads) {
      fail("INVALID_ARGUMENT",
           "Expected EINLINEAR_THREADS to be a whole number from 1 to %d, got '%s'", kMaxThreads,
           text);
    }
    return static_cast<int>(n);
  }
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  for (const std::string& folder : controlGroups("cpu")) {
    // Version 2 has "QUOTA PERIOD" in one file, or "max PERIOD"; version 1 two files, or -1.
    double quota = 0, period = 0;
    std::ifstream both(folder + "/cpu.max");
    if (!(both >> quota >> period)) {
      std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
      std::ifstream(folder + "/cpu.cfs_period_us") >> period;
    }
    if (!(quota > 0 && period > 0)) continue;
    const double allowed = std::ceil(quota / period);
    if (allowed < cores) cores = static_cast<int>(allowed);
  }
#endif
  return cores < 1 ? 1 : cores > kMaxThreads ? kMaxThreads : cores;
}

}  // namespace einlinear
