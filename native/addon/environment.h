// What the addon keeps for one JavaScript environment (the main thread or a worker_thread).
#pragma once

#include <napi.h>

#include <memory>
#include <new>
#include <vector>

#include "../core/error.h"

namespace einlinear {

class DeviceState;

struct Environment {
  Napi::FunctionReference errorClass;
  // Kept until the environment ends: the functions of a device point to its state.
  std::vector<std::shared_ptr<DeviceState>> devices;

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
};

// The error as an instance of the class given to setErrorClass (an Error with `code` before that).
Napi::Value toJs(Napi::Env env, const Error& error);
[[noreturn]] void throwJs(Napi::Env env, const Error& error);

// Runs f, turning a native error into a JavaScript one.
template <class F>
auto guarded(Napi::Env env, const F& f) -> decltype(f()) {
  try {
    return f();
  } catch (const Error& error) {
    throwJs(env, error);
  } catch (const std::bad_alloc&) {
    throwJs(env, Error("OUT_OF_MEMORY", "Out of memory on the host"));
  }
}

}  // namespace einlinear
