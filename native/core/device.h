// What a backend provides: devices, each an in-order queue of work with memory of its own.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "error.h"
#include "ops.h"

namespace einlinear {

// How products may round their operands; sums are float32 always.
enum class Compute : int { float32, tf32, bfloat16 };

// An op with a copy of its arguments, ready to be queued.
struct OpCall {
  static constexpr size_t kMaxArgs = 480;

  Compute compute = Compute::float32;

  void (*run)(Context&, const OpCall&);
  void (*op)();
  alignas(16) unsigned char args[kMaxArgs];

  template <class Args>
  static OpCall make(void (*op)(Context&, const Args&), const Args& args) {
    static_assert(std::is_trivially_copyable<Args>::value && sizeof(Args) <= kMaxArgs,
                  "queued by copy");
    OpCall call;
    call.op = reinterpret_cast<void (*)()>(op);
    call.run = [](Context& context, const OpCall& self) {
      Args copy;
      std::memcpy(&copy, self.args, sizeof copy);
      reinterpret_cast<void (*)(Context&, const Args&)>(self.op)(context, copy);
    };
    std::memcpy(call.args, &args, sizeof args);
    return call;
  }
};

// An error found while running. Work queued behind it is skipped until clearError(id), so that
// nothing computed from garbage reaches a parameter before the caller knows.
struct PendingError {
  Error error;
  uint64_t id;
};

class Device {
 public:
  using Done = std::function<void(const PendingError*)>;  // null: all well; called on any thread

  virtual ~Device() = default;

  virtual const OpTable& ops() const = 0;
  virtual void launch(const OpCall& call) = 0;

  // Raw memory, 64-byte aligned; null when there is none. Work still queued may use a block until
  // the device has passed this point, so callers recycle blocks in queue order (Pool does).
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* block) = 0;
  // Whether release() takes its place in the queue and the backend keeps released blocks for reuse
  // itself, so that callers need not.
  virtual bool ordersMemory() const { return false; }
  // Bytes held from the system, without ordersMemory() but for the blocks of allocate().
  virtual size_t reservedBytes() const { return 0; }
  // Gives back those not in use; without ordersMemory(), while the queue is idle.
  virtual void trim() {}
  // The most memory there is.
  virtual size_t memoryLimit() const = 0;
  // Whether the products can be computed so.
  virtual bool supports(Compute compute) const { return compute == Compute::float32; }

  // Copies `bytes` from host memory; `source` may change once this returns.
  virtual void upload(void* destination, const void* source, size_t bytes) = 0;
  // Copies to host memory when the queue gets there, then calls `done`; bytes may be 0.
  virtual void download(void* destination, const void* source, size_t bytes, Done done) = 0;
  virtual void clearError(uint64_t id) = 0;

  // Stops without waiting: drops the queue (the `done` of its reads is called with an ABORTED
  // error) but for what runs, and calls `stopped` on another thread when that is over. Nothing may
  // be launched afterwards; until then, blocks must not be released unless ordersMemory().
  // Returns whether nothing runs, so that join() hardly waits.
  virtual bool stop(std::function<void()> stopped) = 0;
  // Waits until the device has stopped; stop() comes first. Both are idempotent.
  virtual void join() = 0;
};

struct DeviceOptions {
  int threads = 0;  // cpu; 0: EINLINEAR_THREADS, or every core this process may use
  int index = 0;    // cuda: which of the visible devices
};

struct BackendInfo {
  std::string name;
  bool available = false;
  std::string reason;  // why not
  std::map<std::string, std::string> details;
};

std::vector<BackendInfo> describeBackends();

// Throws BACKEND_UNAVAILABLE naming the backends there are.
std::unique_ptr<Device> openDevice(const std::string& backend, const DeviceOptions& options);

}  // namespace einlinear
