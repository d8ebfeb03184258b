#include "environment.h"

namespace einlinear {

Napi::Value toJs(Napi::Env env, const Error& error) {
  Environment& environment = Environment::of(env);
  const Napi::String code = Napi::String::New(env, error.code());
  const Napi::String message = Napi::String::New(env, error.what());
  if (!environment.errorClass.IsEmpty()) return environment.errorClass.New({code, message});
  Napi::Error plain = Napi::Error::New(env, error.what());
  plain.Value().Set("code", code);
  return plain.Value();
}

void throwJs(Napi::Env env, const Error& error) { throw Napi::Error(env, toJs(env, error)); }

}  // namespace einlinear
