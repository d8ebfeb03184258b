#include "status.h"

#include <cstdio>

namespace einlinear {
namespace cuda {

Error errorOf(const Status& status) {
  const auto number = [](int64_t n) { return static_cast<long long>(n); };
  char text[256];
  if (static_cast<Problem>(status.problem) == Problem::groupOffset) {
    std::snprintf(text, sizeof text,
                  "Expected group offsets to rise from 0 to %lld, got %lld at position %lld",
                  number(status.limit), number(status.value), number(status.position));
    return Error("OUT_OF_RANGE", text);
  }
  const char* what = "expert indices";
  if (static_cast<Problem>(status.problem) == Problem::tokenId) what = "token ids";
  if (static_cast<Problem>(status.problem) == Problem::target) what = "target classes";
  std::snprintf(text, sizeof text, "Expected %s in [0, %lld), got %lld at position %lld", what,
                number(status.limit), number(status.value), number(status.position));
  return Error("OUT_OF_RANGE", text);
}

}  // namespace cuda
}  // namespace einlinear
