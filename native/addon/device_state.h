// An open device of one environment: the backend's device, its memory pool, and the promises of
// reads under way.
#pragma once

#include <napi.h>

#include <memory>

#include "../core/device.h"
#include "../core/pool.h"

namespace einlinear {

class DeviceState;

// One device buffer as JavaScript holds it (in a tagged External).
struct Buffer {
  std::shared_ptr<DeviceState> owner;
  Block block;  // without data once freed
  size_t bytes = 0;
};

class DeviceState : public std::enable_shared_from_this<DeviceState> {
 public:
  DeviceState(Napi::Env env, std::unique_ptr<Device> device);
  ~DeviceState();

  // The open device; DISPOSED once closed.
  Device& device();

  // How the products of ops launched from now on may round; NOT_SUPPORTED where they cannot.
  void setCompute(Compute compute);
  void launch(OpCall call);

  Napi::Value allocate(Napi::Env env, size_t bytes);
  // Idempotent.
  void free(Napi::Env env, Buffer& buffer);
  Napi::Value download(Napi::Env env, const void* source, Napi::TypedArray target, size_t bytes);
  void downloadSync(Napi::Env env, const void* source, void* target, size_t bytes);
  Napi::Value memory(Napi::Env env) const;
  void trim(Napi::Env env);
  // Stops the queue without waiting; pending reads are rejected as ABORTED. Memory is given back
  // when the op that runs is over, at once where none does. Idempotent.
  void close();
  // close(), waiting, and nothing is signalled to JavaScript any more: the environment is ending.
  void shutDown();

  // The buffer behind a JavaScript value, live or freed; INVALID_ARGUMENT when it is something
  // else.
  static Buffer& anyBuffer(const Napi::Value& value, const char* name);
  // A live buffer of this device; DISPOSED or DEVICE_MISMATCH otherwise.
  Buffer& buffer(const Napi::Value& value, const char* name);

 private:
  struct Read;
  // Frees a buffer that the garbage collector found unreachable.
  void collect(Napi::Env env, Buffer& buffer);
  // Tells V8 how much memory its handles hold, so that it collects those nobody disposed: the
  // highest so far, less what was collected. Were explicit frees reported too, V8 would collect
  // everything at each step that frees what it allocates.
  void reportMemory(Napi::Env env, size_t bytes);
  // Gives back the memory of a device that was closed, waiting where it has not stopped yet.
  void finish();
  void releaseSignal();
  // Settles the promise of a read; without one, the device has stopped.
  static void settle(Napi::Env env, Napi::Function, DeviceState* owner, Read* read);
  using Signal = Napi::TypedThreadSafeFunction<DeviceState, Read, settle>;

  Napi::Env env_;
  std::unique_ptr<Device> device_;
  Pool pool_;
  Signal signal_;
  int reading_ = 0;  // promises not yet settled; while there are any, the process stays alive
  size_t reported_ = 0;
  Compute compute_ = Compute::float32;
  // In the order in which they come true; stopped_: nothing uses the device's memory any more.
  bool closed_ = false, stopped_ = false, released_ = false;
};

}  // namespace einlinear
