// crossEntropy and crossEntropyBackward, of logits [rows, classes] and a target class per row.
//
// Forward reads the logits (twice, once from memory); backward reads them and writes their gradient
// from the saved log-sum-exp: 4 and 8 bytes a logit, one exponential each.
#include <string.h>

#include "indices.h"
#include "ops.h"
#include "softmax_row.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

void crossEntropy(Context& context, const CrossEntropyArgs& args) {
  checkIndices("target classes", args.targets, args.rows, args.classes, args.ignoreIndex);
  double* losses = reinterpret_cast<double*>(context.scratch(0, 2 * args.rows));
  context.blocks(args.rows, rowsPerTask(args.classes), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = args.logits + row * args.classes;
      const float top = rowMax(x, args.classes);
      const double rest = __builtin_log(rowExpSum(x, args.classes, top));
      args.lse[row] = static_cast<float>(static_cast<double>(top) + rest);
      const bool counts = args.targets[row] != args.ignoreIndex;
      losses[row] = counts ? static_cast<double>(top - x[args.targets[row]]) + rest : 0.0;
    }
  });
  int64_t counted = 0;
  for (int64_t row = 0; row < args.rows; ++row) counted += args.targets[row] != args.ignoreIndex;
  const double total = foldInOrder(losses, args.rows);
  *args.loss = counted > 0 ? static_cast<float>(total / static_cast<double>(counted)) : 0.0f;
  *args.counted = static_cast<float>(counted);
}

void crossEntropyBackward(Context& context, const CrossEntropyBackwardArgs& args) {
  checkIndices("target classes", args.targets, args.rows, args.classes, args.ignoreIndex);
  const float scale = *args.counted > 0.0f ? *args.dloss / *args.counted : 0.0f;
  context.blocks(args.rows, rowsPerTask(args.classes), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = args.logits + row * args.classes;
      float* dx = args.dlogits + row * args.classes;
      const int64_t target = args.targets[row];
      if (target == args.ignoreIndex) {
        memset(dx, 0, static_cast<size_t>(args.classes) * sizeof(float));
        continue;
      }
      const float lse = args.lse[row];
      vectors(0, args.classes,
              [&](int64_t i, auto part) { part.put(dx + i, exp(part.get(x + i) - lse) * scale); });
      dx[target] -= scale;
    }
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
