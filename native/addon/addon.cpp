// The Node-API module: devices, buffers and the op table as JavaScript functions. No arithmetic.
#include <napi.h>

#include <cmath>

#include "../core/device.h"
#include "device_state.h"
#include "environment.h"
#include "op_arguments.h"

namespace einlinear {
namespace {

// ---- ops
// --------------------------------------------------------------------------------------------

template <class Args, void (*OpTable::*Op)(Context&, const Args&)>
void runOp(const Napi::CallbackInfo& info, const char* name) {
  DeviceState& state = *static_cast<DeviceState*>(info.Data());
  guarded(info.Env(), [&] {
    Device& device = state.device();
    Args args{};
    OpArguments arguments(info, state, name);
    args.fields(arguments);
    arguments.finish();
    state.launch(OpCall::make(device.ops().*Op, args));
  });
}

Napi::Object makeOps(Napi::Env env, DeviceState* state) {
  Napi::Object ops = Napi::Object::New(env);
#define EINLINEAR_BIND(name, Args)                                                               \
  ops.Set(                                                                                       \
      #name,                                                                                     \
      Napi::Function::New(                                                                       \
          env, [](const Napi::CallbackInfo& info) { runOp<Args, &OpTable::name>(info, #name); }, \
          #name, state));
  EINLINEAR_OPS(EINLINEAR_BIND)
#undef EINLINEAR_BIND
  return ops;
}

// ---- device methods
// ---------------------------------------------------------------------------------

DeviceState& stateOf(const Napi::CallbackInfo& info) {
  return *static_cast<DeviceState*>(info.Data());
}

size_t byteCount(const Napi::CallbackInfo& info, size_t at, const char* name) {
  const double n = info[at].IsNumber() ? info[at].As<Napi::Number>().DoubleValue() : -1;
  if (!(n >= 0) || n != std::floor(n)) {
    fail("INVALID_ARGUMENT", "Expected %s to be a whole number of bytes of at least 0, got %g",
         name, n);
  }
  if (n > 9007199254740991.0) fail("OUT_OF_MEMORY", "Out of memory: asked for %g bytes", n);
  return static_cast<size_t>(n);
}

Napi::TypedArray typedArray(const Napi::CallbackInfo& info, size_t at, const char* name) {
  if (!info[at].IsTypedArray()) fail("INVALID_ARGUMENT", "Expected %s to be a typed array", name);
  return info[at].As<Napi::TypedArray>();
}

struct Range {
  unsigned char* data;
  size_t bytes;
};

// `bytes` bytes of a device buffer from an offset on.
Range rangeOf(DeviceState& state, const Napi::CallbackInfo& info, size_t offset, size_t bytes) {
  Buffer& buffer = state.buffer(info[0], "buffer");
  if (offset > buffer.bytes || bytes > buffer.bytes - offset) {
    fail("OUT_OF_RANGE", "Expected bytes %zu to %zu to lie in a buffer of %zu bytes", offset,
         offset + bytes, buffer.bytes);
  }
  return {static_cast<unsigned char*>(buffer.block.data) + offset, bytes};
}

Napi::Value allocate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return stateOf(info).allocate(info.Env(), byteCount(info, 0, "bytes")); });
}

void freeBuffer(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    Buffer& buffer = DeviceState::anyBuffer(info[0], "buffer");
    buffer.owner->free(info.Env(), buffer);
  });
}

void upload(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    DeviceState& state = stateOf(info);
    const Napi::TypedArray data = typedArray(info, 1, "data");
    const Range range = rangeOf(state, info, byteCount(info, 2, "byteOffset"), data.ByteLength());
    state.device().upload(
        range.data, static_cast<unsigned char*>(data.ArrayBuffer().Data()) + data.ByteOffset(),
        range.bytes);
  });
}

Napi::Value download(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    DeviceState& state = stateOf(info);
    const Napi::TypedArray target = typedArray(info, 2, "target");
    const Range range = rangeOf(state, info, byteCount(info, 1, "byteOffset"), target.ByteLength());
    return state.download(info.Env(), range.data, target, range.bytes);
  });
}

void downloadSync(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    DeviceState& state = stateOf(info);
    const Napi::TypedArray target = typedArray(info, 2, "target");
    const Range range = rangeOf(state, info, byteCount(info, 1, "byteOffset"), target.ByteLength());
    state.downloadSync(
        info.Env(), range.data,
        static_cast<unsigned char*>(target.ArrayBuffer().Data()) + target.ByteOffset(),
        range.bytes);
  });
}

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return stateOf(info).download(info.Env(), nullptr, Napi::Uint8Array::New(info.Env(), 0), 0);
  });
}

void synchronizeSync(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { stateOf(info).downloadSync(info.Env(), nullptr, nullptr, 0); });
}

Napi::Value memory(const Napi::CallbackInfo& info) { return stateOf(info).memory(info.Env()); }

void trim(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { stateOf(info).trim(info.Env()); });
}

void setCompute(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const double n = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
    if (n != 0 && n != 1 && n != 2) fail("INVALID_ARGUMENT", "Expected a known compute, got %g", n);
    stateOf(info).setCompute(static_cast<Compute>(static_cast<int>(n)));
  });
}

void closeDevice(const Napi::CallbackInfo& info) { stateOf(info).close(); }

// ---- the module
// -------------------------------------------------------------------------------------

Napi::Value open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    if (!info[0].IsString()) fail("INVALID_ARGUMENT", "Expected the backend to be a string");
    DeviceOptions options;
    if (info[1].IsObject()) {
      const Napi::Object given = info[1].As<Napi::Object>();
      const auto whole = [&](const char* name, int least, int most, int& option) {
        const Napi::Value value = given.Get(name);
        if (value.IsUndefined()) return;
        const double n = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : least - 1;
        if (!(n >= least && n <= most) || n != std::floor(n)) {
          fail("INVALID_ARGUMENT", "Expected %s to be a whole number from %d to %d, got %g", name,
               least, most, n);
        }
        option = static_cast<int>(n);
      };
      whole("threads", 1, 1024, options.threads);
      whole("index", 0, 1023, options.index);
    }
    Environment& environment = Environment::of(env);
    std::unique_ptr<Device> device = openDevice(info[0].As<Napi::String>(), options);
    environment.devices.push_back(std::make_shared<DeviceState>(env, std::move(device)));
    DeviceState* state = environment.devices.back().get();
    // Hooks run in reverse order: this one before those of the state's own thread-safe function.
    env.AddCleanupHook([state] { state->shutDown(); });

    Napi::Object object = Napi::Object::New(env);
    const auto method = [&](const char* name, auto callback) {
      object.Set(name, Napi::Function::New(env, callback, name, state));
    };
    method("allocate", allocate);
    method("free", freeBuffer);
    method("upload", upload);
    method("download", download);
    method("downloadSync", downloadSync);
    method("synchronize", synchronize);
    method("synchronizeSync", synchronizeSync);
    method("memory", memory);
    method("trim", trim);
    method("setCompute", setCompute);
    method("close", closeDevice);
    object.Set("ops", makeOps(env, state));
    return object;
  });
}

Napi::Value backends(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array list = Napi::Array::New(env);
  for (const BackendInfo& backend : describeBackends()) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", backend.name);
    entry.Set("available", backend.available);
    if (!backend.available) entry.Set("reason", backend.reason);
    Napi::Object details = Napi::Object::New(env);
    for (const auto& detail : backend.details) details.Set(detail.first, detail.second);
    entry.Set("details", details);
    list.Set(list.Length(), entry);
  }
  return list;
}

void setErrorClass(const Napi::CallbackInfo& info) {
  if (!info[0].IsFunction()) throw Napi::TypeError::New(info.Env(), "Expected a class");
  Environment::of(info.Env()).errorClass = Napi::Persistent(info[0].As<Napi::Function>());
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment);
  exports.Set("openDevice", Napi::Function::New(env, open, "openDevice"));
  exports.Set("backends", Napi::Function::New(env, backends, "backends"));
  exports.Set("setErrorClass", Napi::Function::New(env, setErrorClass, "setErrorClass"));
  return exports;
}

}  // namespace
}  // namespace einlinear

static Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  return einlinear::init(env, exports);
}

NODE_API_MODULE(einlinear, initialise)
