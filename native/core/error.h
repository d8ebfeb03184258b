// The one error type of the native code. The addon turns it into a JavaScript EinlinearError.
#pragma once

#include <exception>
#include <string>

namespace einlinear {

class Error : public std::exception {
 public:
  Error(std::string code, std::string message)
      : code_(std::move(code)), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& code() const { return code_; }

 private:
  std::string code_;
  std::string message_;
};

// Throws Error{code, printf(format, ...)}. Out of line, so that files compiled for one instruction
// set pull in no string code.
[[noreturn]] void fail(const char* code, const char* format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

}  // namespace einlinear
