// Fills an op's argument struct from positional JavaScript arguments (a visitor of `fields`).
#pragma once

#include <napi.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "device_state.h"

namespace einlinear {

class OpArguments {
 public:
  OpArguments(const Napi::CallbackInfo& info, DeviceState& state, const char* op)
      : info_(info), state_(state), op_(op) {}

  void size(const char* name, int64_t& value) {
    value = whole(name, next());
    if (value < 0) wrong(name, "a whole number of at least 0", static_cast<double>(value));
  }
  void integer(const char* name, int64_t& value) { value = whole(name, next()); }
  void counter(const char* name, uint64_t& value) {
    int64_t n = 0;
    size(name, n);
    value = static_cast<uint64_t>(n);
  }
  void real(const char* name, double& value) { value = number(name, next()); }
  void real(const char* name, float& value) { value = static_cast<float>(number(name, next())); }
  void flag(const char* name, bool& value) {
    const Napi::Value v = next();
    if (!v.IsBoolean()) fail("INVALID_ARGUMENT", "%s: expected %s to be a boolean", op_, name);
    value = v.As<Napi::Boolean>().Value();
  }
  template <class E>
  void choice(const char* name, E& value, int64_t count) {
    const int64_t n = whole(name, next());
    if (n < 0 || n >= count) wrong(name, "a known kind", static_cast<double>(n));
    value = static_cast<E>(n);
  }
  void dims(const char* name, Dims& dims, int64_t rank = -1) {
    const Napi::Value v = next();
    if (!v.IsArray()) fail("INVALID_ARGUMENT", "%s: expected %s to be an array", op_, name);
    const Napi::Array array = v.As<Napi::Array>();
    if (array.Length() > kMaxRank || (rank >= 0 && array.Length() != static_cast<uint32_t>(rank))) {
      wrong(name, "a list of the shape's length, at most 8", array.Length());
    }
    dims.rank = static_cast<int>(array.Length());
    for (int i = 0; i < dims.rank; ++i) {
      dims[i] = whole(name, array.Get(static_cast<uint32_t>(i)));
      if (dims[i] < 0) wrong(name, "whole numbers of at least 0", static_cast<double>(dims[i]));
    }
  }
  void einsum(const char* name, EinsumShape& shape) {
    const Napi::Value v = next();
    if (!v.IsArray() || v.As<Napi::Array>().Length() != 9) {
      fail("INVALID_ARGUMENT", "%s: expected %s to be nine sizes", op_, name);
    }
    int64_t sizes[9];
    for (uint32_t i = 0; i < 9; ++i) {
      sizes[i] = whole(name, v.As<Napi::Array>().Get(i));
      if (sizes[i] < 1) wrong(name, "sizes of at least 1", static_cast<double>(sizes[i]));
    }
    shape = EinsumShape{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4],
                        sizes[5], sizes[6], sizes[7], sizes[8]};
    // The factors' buffers bound their sizes, but not those of a token's tiles.
    const int64_t most =
        std::max({shape.inner(), shape.outer(), shape.sizeZAFirst(), shape.sizeZBFirst()});
    if (most > kMaxTokenSize) {
      fail("OUT_OF_MEMORY", "%s: expected at most %lld numbers for a token, got %lld", op_,
           static_cast<long long>(kMaxTokenSize), static_cast<long long>(most));
    }
  }

  // Conditions among sizes already read; they take no argument.
  void atMost(const char* name, int64_t value, const char* limitName, int64_t limit) {
    if (value <= limit) return;
    fail("OUT_OF_RANGE", "%s: expected %s to be at most %s = %lld, got %lld", op_, name, limitName,
         static_cast<long long>(limit), static_cast<long long>(value));
  }
  void exactly(const char* name, int64_t value, int64_t expected) {
    if (value == expected) return;
    fail("INVALID_ARGUMENT", "%s: expected %s to be %lld, got %lld", op_, name,
         static_cast<long long>(expected), static_cast<long long>(value));
  }

  template <class T>
  void in(const char* name, T*& pointer, int64_t count) {
    pointer = static_cast<T*>(elements(name, next(), count));
  }
  template <class T>
  void out(const char* name, T*& pointer, int64_t count) {
    pointer = static_cast<T*>(elements(name, next(), count));
  }
  template <class T>
  void optIn(const char* name, T*& pointer, int64_t count) {
    const Napi::Value v = next();
    pointer = v.IsNull() ? nullptr : static_cast<T*>(elements(name, v, count));
  }
  template <class T>
  void optOut(const char* name, T*& pointer, int64_t count) {
    optIn(name, pointer, count);
  }
  // 32-bit words of any type
  template <class T>
  void inAny(const char* name, T*& pointer, int64_t count) {
    in(name, pointer, count);
  }
  template <class T>
  void outAny(const char* name, T*& pointer, int64_t count) {
    in(name, pointer, count);
  }

  void finish() {
    if (info_.Length() != at_) {
      fail("INVALID_ARGUMENT", "%s: expected %zu arguments, got %zu", op_, at_, info_.Length());
    }
  }

 private:
  static constexpr int64_t kMaxTokenSize = int64_t{1} << 36;

  Napi::Value next() {
    if (at_ >= info_.Length()) {
      fail("INVALID_ARGUMENT", "%s: expected more than %zu arguments", op_, info_.Length());
    }
    return info_[at_++];
  }
  double number(const char* name, const Napi::Value& v) {
    if (!v.IsNumber()) fail("INVALID_ARGUMENT", "%s: expected %s to be a number", op_, name);
    return v.As<Napi::Number>().DoubleValue();
  }
  int64_t whole(const char* name, const Napi::Value& v) {
    const double n = number(name, v);
    if (!(std::abs(n) <= 9007199254740991.0) || n != std::floor(n))
      wrong(name, "a whole number", n);
    return static_cast<int64_t>(n);
  }
  void* elements(const char* name, const Napi::Value& v, int64_t count) {
    const Buffer& buffer = state_.buffer(v, name);
    const size_t held = buffer.bytes / 4;
    if (count < 0 || static_cast<size_t>(count) > held) {
      fail("SHAPE_MISMATCH", "%s: expected %s to hold %lld elements, got %zu", op_, name,
           static_cast<long long>(count), held);
    }
    return buffer.block.data;
  }
  [[noreturn]] void wrong(const char* name, const char* expected, double got) {
    fail("INVALID_ARGUMENT", "%s: expected %s to be %s, got %g", op_, name, expected, got);
  }

  const Napi::CallbackInfo& info_;
  DeviceState& state_;
  const char* op_;
  size_t at_ = 0;
};

}  // namespace einlinear
