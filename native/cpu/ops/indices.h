// Indices that come from a user are looked at before anything is read or written through them.
#pragma once

#include "../../core/error.h"
#include "fold.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

// Throws OUT_OF_RANGE unless every index is in [0, limit) or equal to `ignored`.
static inline void checkIndices(const char* what, const int32_t* indices, int64_t count,
                                int64_t limit, int64_t ignored) {
  for (int64_t from = 0; from < count; from += kChunk) {
    const int64_t to = minOf(from + kChunk, count);
    int bad = 0;
    for (int64_t i = from; i < to; ++i)
      bad |= ((indices[i] < 0) | (indices[i] >= limit)) & (indices[i] != ignored);
    for (int64_t i = from; bad != 0 && i < to; ++i) {
      if ((indices[i] >= 0 && indices[i] < limit) || indices[i] == ignored) continue;
      fail("OUT_OF_RANGE", "Expected %s in [0, %lld), got %lld at position %lld", what,
           static_cast<long long>(limit), static_cast<long long>(indices[i]),
           static_cast<long long>(i));
    }
  }
}

static inline void checkIndices(const char* what, const int32_t* indices, int64_t count,
                                int64_t limit) {
  checkIndices(what, indices, count, limit, INT64_MIN);
}

// Stable counting sort: order[offsets[v] .. offsets[v + 1]) are the positions with key v,
// ascending. Counts blocks of keys apart and places them in parallel; uses scratch `slot`.
static inline void sortByKey(Context& context, const int32_t* keys, int64_t count, int64_t values,
                             int32_t* order, int32_t* offsets, int slot) {
  // At most 64 blocks, so that counting costs no more than a few passes over the keys.
  const int64_t block = maxOf(maxOf(4096, values), ceilDiv(count, 64));
  const int64_t blocks = ceilDiv(count, block);
  int32_t* next = reinterpret_cast<int32_t*>(context.scratch(slot, blocks * values));
  context.blocks(count, block, [&](int64_t begin, int64_t end) {
    int32_t* mine = next + begin / block * values;
    for (int64_t v = 0; v < values; ++v) mine[v] = 0;
    for (int64_t i = begin; i < end; ++i) ++mine[keys[i]];
  });
  int32_t total = 0;
  for (int64_t v = 0; v < values; ++v) {
    offsets[v] = total;
    for (int64_t b = 0; b < blocks; ++b) {
      const int32_t here = next[b * values + v];
      next[b * values + v] = total;
      total += here;
    }
  }
  offsets[values] = total;
  context.blocks(count, block, [&](int64_t begin, int64_t end) {
    int32_t* mine = next + begin / block * values;
    for (int64_t i = begin; i < end; ++i) order[mine[keys[i]]++] = static_cast<int32_t>(i);
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
