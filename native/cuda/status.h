// What kernels report when data turns out to be wrong while they run (a token id out of range): the
// first one to notice writes it to device memory, the next read brings it to the host, and
// optimisers leave parameters alone until then.
#pragma once

#include <cstdint>

#include "../core/error.h"

namespace einlinear {
namespace cuda {

enum class Problem : int { none, tokenId, target, expertIndex, groupOffset };

struct Status {
  int problem;  // a Problem; 0: all well
  int reserved;
  int64_t value, limit, position;
};

// The error a status stands for; `status.problem` is not none.
Error errorOf(const Status& status);

}  // namespace cuda
}  // namespace einlinear
