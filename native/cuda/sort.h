// sortByKey: a stable sort of positions by a small integer key, all on the device.
//
// A least-significant-digit radix sort, 8 bits a pass: one pass for keys below 255, two for a
// vocabulary. A pass counts each tile's digits, sums the counts, and moves every pair behind those
// of its digit that come before it. Only integers are added, so the result is the same every time.
// Bytes: 20 an element and pass (its key read twice, its position read, both written).
#pragma once

#include "context.h"
#include "grid.h"
#include "report.h"

namespace einlinear {
namespace cuda {
namespace sort {

constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kWarps = kThreads / 32;
constexpr int kRounds = 8;  // elements a thread takes
constexpr int kTile = kThreads * kRounds;
static_assert(kThreads == kDigits, "a thread of a block looks after one digit");

// The key as sorted: one outside [0, values) is `values`, so that it comes last.
__device__ inline int32_t within(int32_t key, int32_t values) {
  return key >= 0 && key < values ? key : values;
}

// Sum of `mine` over the lanes below this one.
__device__ inline int32_t sumBelow(int32_t mine) {
  const int lane = threadIdx.x % 32;
  int32_t sum = mine;
  for (int by = 1; by < 32; by *= 2) {
    const int32_t below = __shfl_up_sync(~0u, sum, by);
    if (lane >= by) sum += below;
  }
  return sum - mine;
}

// counts[digit, tile] = elements of the tile with that digit of their key. keys: [count]. With a
// problem, keys that are not in [0, values) are noted.
static __global__ void __launch_bounds__(kThreads)
    countKernel(Status* status, Problem problem, int64_t count, int32_t values, int shift,
                const int32_t* keys, int32_t* counts) {
  __shared__ int32_t total[kDigits];
  total[threadIdx.x] = 0;
  __syncthreads();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTile;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t i = first + round * kThreads + threadIdx.x;
    if (i >= count) break;
    if (problem != Problem::none) checkIndex(status, problem, keys[i], values, i);
    atomicAdd(&total[within(keys[i], values) >> shift & (kDigits - 1)], 1);
  }
  __syncthreads();
  counts[static_cast<int64_t>(threadIdx.x) * gridDim.x + blockIdx.x] = total[threadIdx.x];
}

// counts[digit, tiles]: each becomes the sum of those of its digit before it; totals[digit] is the
// sum of all. A warp a digit.
static __global__ void __launch_bounds__(kThreads)
    sumKernel(int64_t tiles, int32_t* counts, int32_t* totals) {
  const int lane = threadIdx.x % 32, digit = blockIdx.x * kWarps + threadIdx.x / 32;
  int32_t* row = counts + digit * tiles;
  int32_t before = 0;
  for (int64_t from = 0; from < tiles; from += 32) {
    const int32_t mine = from + lane < tiles ? row[from + lane] : 0;
    const int32_t below = sumBelow(mine);
    if (from + lane < tiles) row[from + lane] = before + below;
    before += __shfl_sync(~0u, below + mine, 31);
  }
  if (lane == 0) totals[digit] = before;
}

// Moves (keys[i], order[i]), order null standing for i, to where the digit's count says. Elements
// of a tile keep their order: each warp takes 32 at a time of its own stretch.
// counts: [digit, tiles]; totals: [digit]; keys, order, toKeys, toOrder: [count]
static __global__ void __launch_bounds__(kThreads)
    moveKernel(int64_t count, int32_t values, int shift, const int32_t* counts,
               const int32_t* totals, const int32_t* keys, const int32_t* order, int32_t* toKeys,
               int32_t* toOrder) {
  __shared__ int32_t next[kWarps][kDigits];  // where a warp's next element of a digit goes
  __shared__ int32_t warpTotal[kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, digit = threadIdx.x;
  for (int w = 0; w < kWarps; ++w) next[w][digit] = 0;
  const int32_t total = totals[digit], below = sumBelow(total);
  if (lane == 31) warpTotal[warp] = below + total;
  __syncthreads();

  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTile + warp * (kTile / kWarps) + lane;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t i = first + round * 32;
    if (i < count) atomicAdd(&next[warp][within(keys[i], values) >> shift & (kDigits - 1)], 1);
  }
  __syncthreads();

  int32_t at = below + counts[static_cast<int64_t>(digit) * gridDim.x + blockIdx.x];
  for (int w = 0; w < warp; ++w) at += warpTotal[w];
  for (int w = 0; w < kWarps; ++w) {
    const int32_t here = next[w][digit];
    next[w][digit] = at;
    at += here;
  }
  __syncthreads();

  for (int round = 0; round < kRounds; ++round) {
    const int64_t i = first + round * 32;
    const bool valid = i < count;
    const int32_t key = valid ? within(keys[i], values) : 0;
    const int mine = key >> shift & (kDigits - 1);
    unsigned same = __ballot_sync(~0u, valid);  // lanes with an element of this digit
    for (int bit = 0; bit < kDigitBits; ++bit) {
      const unsigned set = __ballot_sync(~0u, mine >> bit & 1);
      same &= (mine >> bit & 1) != 0 ? set : ~set;
    }
    const int ahead = __popc(same & ((1u << lane) - 1));
    const int32_t to = valid ? next[warp][mine] + ahead : 0;
    __syncwarp();
    if (valid) {
      if (ahead == 0) next[warp][mine] = to + __popc(same);
      toKeys[to] = key;
      toOrder[to] = order != nullptr ? order[i] : static_cast<int32_t>(i);
    }
    __syncwarp();
  }
}

// offsets[v] = how many of the sorted keys [count] are below v, for v in [0, values]
static __global__ void __launch_bounds__(kThreads)
    offsetsKernel(int64_t count, int64_t values, const int32_t* keys, int32_t* offsets) {
  forEach(values + 1, [&](int64_t v) {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (keys[middle] < v)
        low = middle + 1;
      else
        high = middle;
    }
    offsets[v] = static_cast<int32_t>(low);
  });
}

}  // namespace sort

// order[offsets[v] .. offsets[v + 1]) are the positions of keys[count] whose key is v, ascending,
// for v in [0, values). order: [count], a permutation whatever the keys: positions of keys outside
// [0, values) come last, from offsets[values] on; `problem`, unless none, is reported for them.
// offsets: [values + 1]. Uses the one scratch slot.
static inline void sortByKey(Context& context, const int32_t* keys, int64_t count, int64_t values,
                             int32_t* order, int32_t* offsets, int slot,
                             Problem problem = Problem::none) {
  using namespace sort;
  const int32_t limit = static_cast<int32_t>(values < INT32_MAX ? values : INT32_MAX);
  const int64_t tiles = ceilDiv(count, kTile);
  const dim3 grid(static_cast<unsigned>(tiles)), block(kThreads);
  int32_t* counts = context.scratch<int32_t>(slot, kDigits * (tiles + 1) + 3 * count);
  int32_t* totals = counts + kDigits * tiles;
  int32_t *otherOrder = totals + kDigits, *toKeys = otherOrder + count, *spare = toKeys + count;
  int passes = 1;
  while (passes < 4 && limit >> passes * kDigitBits != 0) ++passes;
  const int32_t *fromKeys = keys, *fromOrder = nullptr;
  for (int pass = 0; pass < passes; ++pass) {
    const int shift = pass * kDigitBits;
    int32_t* toOrder = (passes - pass) % 2 != 0 ? order : otherOrder;  // the last is `order`
    context.launch(countKernel, grid, block, 0, context.status(),
                   pass == 0 ? problem : Problem::none, count, limit, shift, fromKeys, counts);
    context.launch(sumKernel, dim3(kDigits / kWarps), block, 0, tiles, counts, totals);
    context.launch(moveKernel, grid, block, 0, count, limit, shift, counts, totals, fromKeys,
                   fromOrder, toKeys, toOrder);
    fromKeys = toKeys;
    fromOrder = toOrder;
    int32_t* next = spare;
    spare = toKeys;
    toKeys = next;
  }
  context.launch(offsetsKernel, blocksFor(values + 1), block, 0, count, values, fromKeys, offsets);
}

}  // namespace cuda
}  // namespace einlinear
