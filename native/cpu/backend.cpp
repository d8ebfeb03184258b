#include "backend.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "../core/pool.h"
#include "context.h"
#include "dispatch.h"
#include "memory.h"
#include "thread_pool.h"

namespace einlinear {
namespace cpu {
namespace {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads)
      : table_(*chosenIsa().table()), context_(threads), thread_([this] { serve(); }) {}

  ~CpuDevice() override {
    stop({});
    join();
  }

  const OpTable& ops() const override { return table_; }

  void launch(const OpCall& call) override {
    Task task;
    task.kind = Task::kOp;
    task.call = call;
    push(std::move(task));
  }

  void* allocate(size_t bytes) override { return allocateMemory(bytes); }
  void release(void* block) override { releaseMemory(block); }
  // Ops keep scratch memory for the next; while the queue is idle, the serving thread leaves it
  // alone.
  size_t reservedBytes() const override { return context_.scratchBytes(); }
  void trim() override { context_.releaseScratch(); }
  size_t memoryLimit() const override { return einlinear::memoryLimit(); }

  void upload(void* destination, const void* source, size_t bytes) override {
    if (bytes == 0) return;
    Task task;
    task.kind = Task::kUpload;
    task.destination = destination;
    task.staged.reset(new unsigned char[bytes]);
    std::memcpy(task.staged.get(), source, bytes);
    task.bytes = bytes;
    push(std::move(task));
  }

  void download(void* destination, const void* source, size_t bytes, Done done) override {
    Task task;
    task.kind = Task::kDownload;
    task.destination = destination;
    task.source = source;
    task.bytes = bytes;
    task.done = std::move(done);
    push(std::move(task));
  }

  void clearError(uint64_t id) override {
    Task task;
    task.kind = Task::kClear;
    task.bytes = id;
    push(std::move(task));
  }

  bool stop(std::function<void()> stopped) override {
    std::deque<Task> dropped;
    bool idle = true;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      idle = !running_;
      if (stopped_) return idle;
      stopped_ = true;
      whenStopped_ = std::move(stopped);
      dropped.swap(queue_);
    }
    ready_.notify_one();
    const PendingError aborted{Error("ABORTED", "The device was closed before this read was done"),
                               0};
    for (Task& task : dropped) {
      if (task.kind == Task::kDownload) task.done(&aborted);
    }
    return idle;
  }

  void join() override {
    if (thread_.joinable()) thread_.join();
  }

 private:
  struct Task {
    enum Kind { kOp, kUpload, kDownload, kClear } kind = kOp;
    OpCall call{};
    void* destination = nullptr;
    const void* source = nullptr;
    size_t bytes = 0;
    std::unique_ptr<unsigned char[]> staged;
    Done done;
  };

  void push(Task task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (stopped_) fail("DISPOSED", "Expected an open device, got one that was closed");
      queue_.push_back(std::move(task));
    }
    ready_.notify_one();
  }

  void serve() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      running_ = false;
      ready_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
      if (stopped_) break;
      Task task = std::move(queue_.front());
      queue_.pop_front();
      // The rest takes no time, and nobody who was told that a read is done should find it running.
      running_ = task.kind == Task::kOp || task.kind == Task::kUpload;
      lock.unlock();
      execute(task);
    }
    context_.releaseScratch();
    if (whenStopped_) whenStopped_();
  }

  void execute(Task& task) {
    switch (task.kind) {
      case Task::kOp:
        if (pending_) return;
        try {
          task.call.run(context_, task.call);
        } catch (const Error& error) {
          pending_.reset(new PendingError{error, ++errors_});
        }
        return;
      case Task::kUpload:
        std::memcpy(task.destination, task.staged.get(), task.bytes);
        return;
      case Task::kDownload:
        if (!pending_ && task.bytes > 0) std::memcpy(task.destination, task.source, task.bytes);
        task.done(pending_.get());
        return;
      case Task::kClear:
        if (pending_ && pending_->id == task.bytes) pending_.reset();
        return;
    }
  }

  const OpTable& table_;
  Context context_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Task> queue_;
  bool stopped_ = false, running_ = false;
  std::function<void()> whenStopped_;      // set once, before stopped_
  std::unique_ptr<PendingError> pending_;  // of the serving thread alone
  uint64_t errors_ = 0;
  std::thread thread_;  // last: starts when everything above is there
};

}  // namespace

BackendInfo describe() {
  BackendInfo info;
  info.name = "cpu";
  try {
    info.details["instructionSet"] = chosenIsa().name;
    info.details["threads"] = std::to_string(defaultThreads());
    info.available = true;
  } catch (const Error& error) {
    info.reason = error.what();
  }
  return info;
}

std::unique_ptr<Device> open(const DeviceOptions& options) {
  const int threads = options.threads > 0 ? options.threads : defaultThreads();
  try {
    return std::unique_ptr<Device>(new CpuDevice(threads));
  } catch (const std::system_error& error) {
    fail("OUT_OF_MEMORY", "The system refused a thread for the device: %s", error.what());
  }
}

}  // namespace cpu
}  // namespace einlinear
