// Which of the compiled op tables this processor runs.
#pragma once

#include "../core/ops.h"

namespace einlinear {
namespace cpu {

struct Isa {
  const char* name;
  const OpTable* (*table)();
  bool (*supported)();
};

// The best supported one, or the one EINLINEAR_ISA (avx512, avx2, portable) asks for; an unknown or
// unsupported name is an INVALID_ARGUMENT error.
const Isa& chosenIsa();

namespace portable {
const OpTable* table();
}
namespace avx2 {
const OpTable* table();
}
namespace avx512 {
const OpTable* table();
}

}  // namespace cpu
}  // namespace einlinear
