// CUDA devices: a stream each, with a thread that waits for reads so that nobody else has to.
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "../core/backend_library.h"
#include "context.h"
#include "ops/ops.h"
#include "staging.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int kOldestArchitecture = 80;

// The device that CUDA calls of this thread mean.
int select(int index) {
  check(cudaSetDevice(index), "cudaSetDevice");
  return index;
}

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index)
      : index_(select(index)), context_(index), reader_([this] { serveReads(); }) {
    check(cudaDeviceGetDefaultMemPool(&pool_, index_), "cudaDeviceGetDefaultMemPool");
    uint64_t everything = UINT64_MAX;  // freed memory stays for reuse until trim()
    check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &everything),
          "cudaMemPoolSetAttribute");
  }

  ~CudaDevice() override {
    stop({});
    join();
    cudaSetDevice(index_);
  }

  const OpTable& ops() const override { return table(); }

  void launch(const OpCall& call) override {
    requireOpen();
    if (pending_) return;
    select(index_);
    context_.setCompute(call.compute);
    try {
      call.run(context_, call);
    } catch (const Error& error) {
      pending_.reset(new PendingError{error, 2 * ++errors_});
    }
  }

  // The pool has a smallest block anyway, and nothing is no block.
  void* allocate(size_t bytes) override {
    select(index_);
    void* block = nullptr;
    if (cudaMallocAsync(&block, bytes, context_.stream()) == cudaSuccess) return block;
    cudaGetLastError();
    return nullptr;
  }
  void release(void* block) override {
    cudaSetDevice(index_);
    cudaFreeAsync(block, context_.stream());
  }
  bool ordersMemory() const override { return true; }
  size_t reservedBytes() const override {
    uint64_t bytes = 0;
    cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrReservedMemCurrent, &bytes);
    return static_cast<size_t>(bytes);
  }
  void trim() override {
    cudaSetDevice(index_);
    if (!stopped_) context_.releaseScratch();
    cudaStreamSynchronize(context_.stream());
    cudaMemPoolTrimTo(pool_, 0);
  }
  size_t memoryLimit() const override {
    size_t available = 0, total = 0;
    cudaSetDevice(index_);
    cudaMemGetInfo(&available, &total);
    return total;
  }
  bool supports(Compute) const override { return true; }

  void upload(void* destination, const void* source, size_t bytes) override {
    requireOpen();
    if (bytes == 0) return;
    select(index_);
    Read read;
    read.staged = staging_.take(bytes);
    read.stagedBytes = bytes;
    std::memcpy(read.staged, source, bytes);
    check(
        cudaMemcpyAsync(destination, read.staged, bytes, cudaMemcpyHostToDevice, context_.stream()),
        "cudaMemcpyAsync");
    push(std::move(read));
  }

  void download(void* destination, const void* source, size_t bytes, Done done) override {
    requireOpen();
    select(index_);
    Read read;
    read.done = std::move(done);
    read.epoch = epoch_;
    if (pending_) {
      read.error.reset(new PendingError(*pending_));
    } else {
      read.destination = destination;
      read.bytes = bytes;
      read.stagedBytes = sizeof(Status) + bytes;
      read.staged = staging_.take(read.stagedBytes);
      check(cudaMemcpyAsync(read.staged, context_.status(), sizeof(Status), cudaMemcpyDeviceToHost,
                            context_.stream()),
            "cudaMemcpyAsync");
      if (bytes > 0)
        check(cudaMemcpyAsync(static_cast<Status*>(read.staged) + 1, source, bytes,
                              cudaMemcpyDeviceToHost, context_.stream()),
              "cudaMemcpyAsync");
    }
    push(std::move(read));
  }

  // Errors found while calling have even ids, those that kernels reported odd ones.
  void clearError(uint64_t id) override {
    if (pending_ && pending_->id == id) pending_.reset();
    if (id != statusId(epoch_) || stopped_) return;
    select(index_);
    ++epoch_;
    check(cudaMemsetAsync(context_.status(), 0, sizeof(Status), context_.stream()),
          "cudaMemsetAsync");
  }

  // The stream cannot drop what it was given: the reader waits for it.
  bool stop(std::function<void()> stopped) override {
    if (stopped_) return false;
    stopped_ = true;
    std::vector<Done> dropped;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      whenStopped_ = std::move(stopped);
      for (Read& read : reads_) {
        if (!read.done) continue;
        dropped.emplace_back();
        dropped.back().swap(read.done);
      }
    }
    changed_.notify_one();
    const PendingError aborted{Error("ABORTED", "The device was closed before this read was done"),
                               0};
    for (const Done& done : dropped) done(&aborted);
    return false;
  }

  void join() override {
    if (!reader_.joinable()) return;
    reader_.join();
    cudaSetDevice(index_);
    context_.releaseScratch();
  }

 private:
  // A copy under way, in either direction, and what to do when the stream has passed it.
  struct Read {
    cudaEvent_t passed = nullptr;
    void* staged = nullptr;  // downloads: a Status, then the data
    size_t stagedBytes = 0;
    void* destination = nullptr;
    size_t bytes = 0;
    uint64_t epoch = 0;
    std::unique_ptr<PendingError> error;  // known beforehand
    Done done;                            // empty for an upload
  };

  static uint64_t statusId(uint64_t epoch) { return 2 * epoch + 1; }

  void requireOpen() const {
    if (stopped_) fail("DISPOSED", "Expected an open device, got one that was closed");
  }

  void push(Read read) {
    check(cudaEventCreateWithFlags(&read.passed, cudaEventBlockingSync | cudaEventDisableTiming),
          "cudaEventCreateWithFlags");
    check(cudaEventRecord(read.passed, context_.stream()), "cudaEventRecord");
    {
      std::lock_guard<std::mutex> lock(mutex_);
      reads_.push_back(std::move(read));
    }
    changed_.notify_one();
  }

  void serveReads() {
    cudaSetDevice(index_);
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !reads_.empty(); });
      if (reads_.empty()) break;
      // It stays in the queue while it waits, so that stop() finds it.
      const cudaEvent_t passed = reads_.front().passed;
      lock.unlock();
      const cudaError_t result = cudaEventSynchronize(passed);
      lock.lock();
      Read read = std::move(reads_.front());
      reads_.pop_front();
      lock.unlock();
      finish(read, result);
    }
    cudaStreamSynchronize(context_.stream());
    if (whenStopped_) whenStopped_();
  }

  // Of a read that the stream has passed.
  void finish(Read& read, cudaError_t result) {
    cudaEventDestroy(read.passed);
    if (result != cudaSuccess) {
      // Such an error stays: nothing on this device works any more in this process.
      read.error.reset(new PendingError{
          Error("CUDA_ERROR", std::string("The CUDA context is lost after ") +
                                  cudaGetErrorName(result) + " (" + cudaGetErrorString(result) +
                                  "): save what the host holds and start again"),
          0});
    } else if (read.done && !read.error) {
      const Status& status = *static_cast<const Status*>(read.staged);
      if (status.problem != 0)
        read.error.reset(new PendingError{errorOf(status), statusId(read.epoch)});
      else if (read.bytes > 0)
        std::memcpy(read.destination, static_cast<Status*>(read.staged) + 1, read.bytes);
    }
    if (read.staged != nullptr) staging_.give(read.staged, read.stagedBytes);
    if (read.done) read.done(read.error.get());
  }

  const int index_;
  Staging staging_;
  Context context_;
  cudaMemPool_t pool_ = nullptr;
  // Of the calling thread alone.
  bool stopped_ = false;
  std::unique_ptr<PendingError> pending_;
  uint64_t errors_ = 0, epoch_ = 0;
  // Shared with the reader.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Read> reads_;
  bool stopping_ = false;
  std::function<void()> whenStopped_;  // set once, before stopping_
  std::thread reader_;                 // last: starts when everything above is there
};

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

int architectureOf(int device) {
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
        "cudaDeviceGetAttribute");
  return 10 * major + minor;
}

// Empty when device `index` can be used, otherwise why not.
std::string reasonAgainst(int index) {
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "there is no NVIDIA driver";
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted != cudaSuccess) {
    cudaGetLastError();
    if (counted == cudaErrorInsufficientDriver)
      return "the NVIDIA driver supports CUDA " + version(driver) + ", needed is " +
             version(runtime / 1000 * 1000);
    return std::string("CUDA finds no device: ") + cudaGetErrorString(counted);
  }
  if (index < 0 || index >= count)
    return "there is no device " + std::to_string(index) + " among the " + std::to_string(count) +
           " visible";
  const int architecture = architectureOf(index);
  if (architecture < kOldestArchitecture)
    return "device " + std::to_string(index) + " has compute capability " +
           std::to_string(architecture / 10) + "." + std::to_string(architecture % 10) +
           ", needed is 8.0";
  return "";
}

BackendInfo describe() {
  BackendInfo info;
  try {
    int count = 0, driver = 0, runtime = 0;
    info.reason = reasonAgainst(0);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver > 0) info.details["driver"] = "CUDA " + version(driver);
    info.details["runtime"] = "CUDA " + version(runtime);
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
      cudaGetLastError();
      count = 0;
    }
    for (int i = 0; i < count; ++i) {
      cudaDeviceProp properties;
      check(cudaGetDeviceProperties(&properties, i), "cudaGetDeviceProperties");
      const int architecture = architectureOf(i);
      info.details["device " + std::to_string(i)] =
          std::string(properties.name) + ", compute capability " +
          std::to_string(architecture / 10) + "." + std::to_string(architecture % 10) + ", " +
          std::to_string(properties.totalGlobalMem >> 20) + " MiB";
    }
  } catch (const Error& error) {
    info.reason = error.what();
  }
  info.available = info.reason.empty();
  return info;
}

std::unique_ptr<Device> open(const DeviceOptions& options) {
  const std::string reason = reasonAgainst(options.index);
  if (!reason.empty()) fail("BACKEND_UNAVAILABLE", "cuda: %s", reason.c_str());
  try {
    return std::unique_ptr<Device>(new CudaDevice(options.index));
  } catch (const std::system_error& error) {
    fail("OUT_OF_MEMORY", "The system refused a thread for the device: %s", error.what());
  }
}

}  // namespace
}  // namespace cuda
}  // namespace einlinear

extern "C" __attribute__((visibility("default"))) const einlinear::BackendLibrary*
einlinearBackend() {
  static const einlinear::BackendLibrary library = {
      sizeof(einlinear::OpTable), einlinear::cuda::describe, einlinear::cuda::open};
  return &library;
}
