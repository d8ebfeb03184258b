// cp.async on the CPU, as native/cuda/include/gpu/async_copy.h: a copy lands as late as it may, and
// what it will overwrite is NaN until then.
#pragma once

#include <cuda_runtime.h>

namespace einlinear {
namespace cuda {

inline void copyAsync16(void* shared, const void* global, bool valid) {
  emulation::Block::current().copyAsync({shared, global, 16, valid ? 16 : 0});
}
inline void copyAsync4(void* shared, const void* global, bool valid) {
  emulation::Block::current().copyAsync({shared, global, 4, valid ? 4 : 0});
}
inline void commitCopies() { emulation::Block::current().commitCopies(); }
template <int InFlight>
inline void waitForCopies() {
  emulation::Block::current().waitCopies(InFlight);
}

}  // namespace cuda
}  // namespace einlinear
