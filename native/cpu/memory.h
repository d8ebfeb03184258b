// Host memory for tensors and scratch: 64-byte aligned, large blocks on huge pages where offered.
#pragma once

#include <cstddef>

namespace einlinear {
namespace cpu {

void* allocateMemory(size_t bytes);  // null when there is none
void releaseMemory(void* block);     // null allowed

}  // namespace cpu
}  // namespace einlinear
