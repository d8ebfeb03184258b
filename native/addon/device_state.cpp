#include "device_state.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "environment.h"

namespace einlinear {
namespace {

const napi_type_tag kBufferTag = {0x9d1c5e0b7a3f4c21ULL, 0x8e62d4b1c07f95a3ULL};

}  // namespace

struct DeviceState::Read {
  Napi::Promise::Deferred promise;
  Napi::Reference<Napi::Value> target;  // keeps the memory that is being written
  std::unique_ptr<PendingError> error;
};

DeviceState::DeviceState(Napi::Env env, std::unique_ptr<Device> device)
    : env_(env),
      device_(std::move(device)),
      pool_(*device_),
      signal_(Signal::New(env, "einlinear read", 0, 1, this)) {
  signal_.Unref(env);
}

DeviceState::~DeviceState() { shutDown(); }

Device& DeviceState::device() {
  if (closed_) fail("DISPOSED", "Expected an open device, got one that was closed");
  return *device_;
}

void DeviceState::close() {
  if (closed_) return;
  closed_ = true;
  if (device_->stop([this] { signal_.BlockingCall(static_cast<Read*>(nullptr)); })) finish();
}

void DeviceState::finish() {
  if (stopped_) return;
  stopped_ = true;
  device_->join();
  pool_.trim();
}

void DeviceState::shutDown() {
  close();
  finish();
  releaseSignal();
}

void DeviceState::releaseSignal() {
  if (released_) return;
  released_ = true;
  signal_.Release();
}

void DeviceState::setCompute(Compute compute) {
  if (!device().supports(compute)) {
    static const char* const names[] = {"float32", "tf32", "bfloat16"};
    fail("NOT_SUPPORTED", "This device does not compute in %s", names[static_cast<int>(compute)]);
  }
  compute_ = compute;
}

void DeviceState::launch(OpCall call) {
  call.compute = compute_;
  device().launch(call);
}

Napi::Value DeviceState::allocate(Napi::Env env, size_t bytes) {
  device();
  std::unique_ptr<Buffer> buffer(new Buffer{shared_from_this(), pool_.allocate(bytes), bytes});
  reportMemory(env, std::max(reported_, pool_.liveBytes()));
  Napi::External<Buffer> external =
      Napi::External<Buffer>::New(env, buffer.release(), [](Napi::Env e, Buffer* b) {
        b->owner->collect(e, *b);
        delete b;
      });
  external.TypeTag(&kBufferTag);
  return external;
}

void DeviceState::free(Napi::Env env, Buffer& buffer) {
  if (buffer.block.data == nullptr) return;
  pool_.free(buffer.block, buffer.bytes);
  buffer.block.data = nullptr;
  if (stopped_) pool_.trim();
  if (closed_ || pool_.liveBytes() == 0) reportMemory(env, pool_.liveBytes());
}

void DeviceState::collect(Napi::Env env, Buffer& buffer) {
  if (buffer.block.data == nullptr) return;
  free(env, buffer);
  const size_t rest = reported_ - std::min(reported_, buffer.bytes);
  reportMemory(env, std::max(rest, pool_.liveBytes()));
}

void DeviceState::reportMemory(Napi::Env env, size_t bytes) {
  if (bytes == reported_) return;
  Napi::MemoryManagement::AdjustExternalMemory(
      env, static_cast<int64_t>(bytes) - static_cast<int64_t>(reported_));
  reported_ = bytes;
}

Buffer& DeviceState::anyBuffer(const Napi::Value& value, const char* name) {
  if (!value.IsExternal() || !value.As<Napi::External<Buffer>>().CheckTypeTag(&kBufferTag)) {
    fail("INVALID_ARGUMENT", "Expected %s to be a device buffer", name);
  }
  return *value.As<Napi::External<Buffer>>().Data();
}

Buffer& DeviceState::buffer(const Napi::Value& value, const char* name) {
  Buffer& buffer = anyBuffer(value, name);
  if (buffer.block.data == nullptr)
    fail("DISPOSED", "Expected %s to be a live buffer, got one that was freed", name);
  if (buffer.owner.get() != this)
    fail("DEVICE_MISMATCH", "Expected %s to be a buffer of this device, got another's", name);
  return buffer;
}

Napi::Value DeviceState::download(Napi::Env env, const void* source, Napi::TypedArray target,
                                  size_t bytes) {
  void* destination =
      static_cast<unsigned char*>(target.ArrayBuffer().Data()) + target.ByteOffset();
  Device& open = device();
  Read* read = new Read{Napi::Promise::Deferred::New(env),
                        Napi::Persistent(target.As<Napi::Value>()), nullptr};
  const Napi::Promise promise = read->promise.Promise();
  if (reading_++ == 0) signal_.Ref(env);
  open.download(destination, source, bytes, [this, read](const PendingError* error) {
    if (error != nullptr) read->error.reset(new PendingError(*error));
    signal_.BlockingCall(read);
  });
  return promise;
}

void DeviceState::settle(Napi::Env env, Napi::Function, DeviceState* owner, Read* read) {
  std::unique_ptr<Read> owned(read);
  if (env == nullptr) {  // the environment is going; nobody waits any more
    if (owned) owned->target.SuppressDestruct();
    return;
  }
  DeviceState& state = *owner;
  if (read == nullptr) {  // the device has stopped; rejected reads may come behind
    state.finish();
    if (state.reading_ == 0) state.releaseSignal();
    return;
  }
  if (--state.reading_ == 0) {
    state.signal_.Unref(env);
    if (state.stopped_) state.releaseSignal();
  }
  if (read->error) {
    if (!state.closed_) state.device_->clearError(read->error->id);
    read->promise.Reject(toJs(env, read->error->error));
  } else {
    read->promise.Resolve(env.Undefined());
  }
}

void DeviceState::downloadSync(Napi::Env env, const void* source, void* target, size_t bytes) {
  std::mutex mutex;
  std::condition_variable reached;
  bool done = false;
  std::unique_ptr<PendingError> error;
  device().download(target, source, bytes, [&](const PendingError* pending) {
    std::lock_guard<std::mutex> lock(mutex);
    if (pending != nullptr) error.reset(new PendingError(*pending));
    done = true;
    reached.notify_one();
  });
  {
    std::unique_lock<std::mutex> lock(mutex);
    reached.wait(lock, [&] { return done; });
  }
  if (!error) return;
  device().clearError(error->id);
  throwJs(env, error->error);
}

Napi::Value DeviceState::memory(Napi::Env env) const {
  Napi::Object object = Napi::Object::New(env);
  object.Set("buffers", static_cast<double>(pool_.liveBlocks()));
  object.Set("bytes", static_cast<double>(pool_.liveBytes()));
  object.Set("reserved", static_cast<double>(pool_.reservedBytes()));
  return object;
}

void DeviceState::trim(Napi::Env env) {
  downloadSync(env, nullptr, nullptr, 0);
  pool_.trim();
}

}  // namespace einlinear
