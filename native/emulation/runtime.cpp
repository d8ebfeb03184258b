// Streams, memory and events of the emulation. Settings from the environment:
//   EINLINEAR_EMULATION_SEED    0 (default): threads of a block take turns; 1: one warp runs ahead
//   as far
//                               as it can; another: a random order
//   EINLINEAR_EMULATION_MEMORY  bytes of device memory (default 8 GiB)
//   EINLINEAR_EMULATION_DEVICES number of devices (default 1); 0: as on a machine without a driver
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "include/cuda_runtime.h"

namespace emulation {
namespace {

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 0) : otherwise;
}

int deviceCount() {
  static const int count = static_cast<int>(setting("EINLINEAR_EMULATION_DEVICES", 1));
  return count;
}

class Memory {
 public:
  void* allocate(size_t bytes) {
    static const size_t limit = setting("EINLINEAR_EMULATION_MEMORY", uint64_t{8} << 30);
    std::lock_guard<std::mutex> lock(mutex_);
    if (bytes > limit - std::min(limit, used_)) return nullptr;
    void* memory = nullptr;
    // The exact size, so that AddressSanitizer sees the first byte beyond it.
    if (posix_memalign(&memory, 256, bytes) != 0) return nullptr;
    std::memset(memory, 0xff, bytes);
    sizes_[memory] = bytes;
    used_ += bytes;
    return memory;
  }
  void release(void* memory) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = sizes_.find(memory);
    if (found == sizes_.end()) {
      std::fprintf(stderr, "emulation: %p is freed but was not allocated\n", memory);
      std::abort();
    }
    used_ -= found->second;
    sizes_.erase(found);
    std::free(memory);
  }
  size_t used() {
    std::lock_guard<std::mutex> lock(mutex_);
    return used_;
  }

 private:
  std::mutex mutex_;
  std::map<void*, size_t> sizes_;
  size_t used_ = 0;
};
Memory& memory() {
  static Memory* all = new Memory;
  return *all;
}

thread_local cudaError_t lastError = cudaSuccess;
cudaError_t answer(cudaError_t error) {
  if (error != cudaSuccess) lastError = error;
  return error;
}

}  // namespace

class Stream {
 public:
  Stream() : thread_([this] { serve(); }) {}
  ~Stream() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void push(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_all();
  }

 private:
  void serve() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return ended_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool ended_ = false;
  std::thread thread_;  // last: starts when everything above is there
};

struct Event {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0, reached = 0;
};

struct MemoryPool {};

namespace {

void runGrid(dim3 grid, dim3 dimensions, size_t sharedBytes, const std::function<void()>& body) {
  static const uint64_t seed = setting("EINLINEAR_EMULATION_SEED", 0);
  static const unsigned processors =
      static_cast<unsigned>(setting("EINLINEAR_THREADS", std::thread::hardware_concurrency()));
  const uint64_t count = uint64_t{grid.x} * grid.y * grid.z;
  std::atomic<uint64_t> next{0};
  const auto work = [&](uint64_t worker) {
    Block block(grid, dimensions, sharedBytes,
                seed <= 1 ? seed : seed + 0x9e3779b97f4a7c15u * worker);
    for (uint64_t i; (i = next.fetch_add(1)) < count;) {
      // Blocks may run in any order: backwards is one that real devices hardly ever show.
      const uint64_t at = seed == 0 ? i : count - 1 - i;
      block.run({static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                 static_cast<unsigned>(at / grid.x / grid.y)},
                body);
    }
  };
  const uint64_t threads = uint64_t{dimensions.x} * dimensions.y * dimensions.z;
  std::vector<std::thread> helpers;
  if (count * threads >= 8192)
    for (uint64_t i = 1; i < std::min<uint64_t>(count, processors); ++i)
      helpers.emplace_back(work, i);
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace

void launchGrid(cudaStream_t stream, dim3 grid, dim3 block, size_t sharedBytes,
                std::function<void()> body) {
  if (grid.y > 65535 || grid.z > 65535 || grid.x > 2147483647u ||
      block.x * block.y * block.z > kMaxThreads || sharedBytes > 227 * 1024) {
    answer(cudaErrorInvalidValue);
    return;
  }
  stream->push([=] { runGrid(grid, block, sharedBytes, body); });
}

}  // namespace emulation

using emulation::answer;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorInvalidValue:
      break;
  }
  return "cudaErrorInvalidValue";
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaGetLastError() {
  const cudaError_t error = emulation::lastError;
  emulation::lastError = cudaSuccess;
  return error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = emulation::deviceCount() > 0 ? 13000 : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = emulation::deviceCount();
  return *count > 0 ? cudaSuccess : answer(cudaErrorInsufficientDriver);
}
static thread_local int currentDevice = 0;
cudaError_t cudaSetDevice(int device) {
  if (device >= emulation::deviceCount()) return answer(cudaErrorInvalidDevice);
  currentDevice = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = currentDevice;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 * 1024;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMemoryPoolsSupported:
      *value = 1;
      break;
  }
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::snprintf(properties->name, sizeof properties->name, "emulated on the CPU");
  return cudaMemGetInfo(nullptr, &properties->totalGlobalMem);
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const size_t all = emulation::setting("EINLINEAR_EMULATION_MEMORY", uint64_t{8} << 30);
  if (free != nullptr) *free = all - std::min(all, emulation::memory().used());
  if (total != nullptr) *total = all;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new emulation::Stream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  cudaEvent_t event;
  cudaEventCreateWithFlags(&event, 0);
  cudaEventRecord(event, stream);
  cudaEventSynchronize(event);
  return cudaEventDestroy(event);
}

cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t) {
  *memory = emulation::memory().allocate(bytes);
  return *memory == nullptr ? answer(cudaErrorMemoryAllocation) : cudaSuccess;
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  stream->push([memory] { emulation::memory().release(memory); });
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return *memory == nullptr ? answer(cudaErrorMemoryAllocation) : cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  stream->push([=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  stream->push([=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  static emulation::MemoryPool only;
  *pool = &only;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void* value) {
  *static_cast<uint64_t*>(value) = emulation::memory().used();
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new emulation::Event;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  uint64_t ticket;
  {
    std::lock_guard<std::mutex> lock(event->mutex);
    ticket = ++event->recorded;
  }
  stream->push([event, ticket] {
    std::lock_guard<std::mutex> lock(event->mutex);
    event->reached = ticket;
    event->changed.notify_all();
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::unique_lock<std::mutex> lock(event->mutex);
  event->changed.wait(lock, [event] { return event->reached >= event->recorded; });
  return cudaSuccess;
}
