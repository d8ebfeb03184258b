// moeSort, moeGather, moeCombine and moeCombineBackward: tokens to rows in expert order, and back.
//
// All move rows of `cols` numbers: 8 bytes a number gathered, 4 * (k + 1) a number combined.
#include <string.h>

#include "indices.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

void moeSort(Context& context, const MoeSortArgs& args) {
  const int64_t pairs = args.tokens * args.k;
  checkIndices("expert indices", args.index, pairs, args.experts);
  sortByKey(context, args.index, pairs, args.experts, args.order, args.offsets, 0);
  context.blocks(pairs, kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      args.position[args.order[row]] = static_cast<int32_t>(row);
  });
}

void moeGather(Context& context, const MoeGatherArgs& args) {
  const int64_t pairs = args.tokens * args.k;
  checkIndices("pairs", args.order, pairs, pairs);
  context.blocks(pairs, rowsPerTask(args.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      memcpy(args.y + row * args.cols, args.x + args.order[row] / args.k * args.cols,
             static_cast<size_t>(args.cols) * sizeof(float));
  });
}

void moeCombine(Context& context, const MoeCombineArgs& args) {
  const int64_t k = args.k, cols = args.cols;
  checkIndices("positions", args.position, args.tokens * k, args.tokens * k);
  context.blocks(args.tokens, rowsPerTask(cols * maxOf(1, k)), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int32_t* position = args.position + t * k;
      const float* weight = args.weight != nullptr ? args.weight + t * k : nullptr;
      vectors(0, cols, [&](int64_t i, auto part) {
        Vec total = {};
        for (int64_t j = 0; j < k; ++j) {
          const Vec row = part.get(args.rows + position[j] * cols + i);
          total += weight != nullptr ? weight[j] * row : row;
        }
        part.put(args.y + t * cols + i, total);
      });
    }
  });
}

void moeCombineBackward(Context& context, const MoeCombineBackwardArgs& args) {
  const int64_t pairs = args.tokens * args.k, cols = args.cols;
  checkIndices("positions", args.position, pairs, pairs);
  context.blocks(pairs, rowsPerTask(cols), [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const float* dy = args.dy + pair / args.k * cols;
      const float* row = args.rows + args.position[pair] * cols;
      float* drow = args.drows + args.position[pair] * cols;
      const float weight = args.weight[pair];
      vectors(0, cols,
              [&](int64_t i, auto part) { part.put(drow + i, weight * part.get(dy + i)); });
      args.dweight[pair] = static_cast<float>(fold<Sum>(
          0, cols, [&](int64_t i, auto part) { return part.get(dy + i) * part.get(row + i); }));
    }
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
