// softmax and softmaxBackward, of rows [rows, cols], plain or logarithmic.
//
// A row is read three times but comes from memory once: 8 bytes an element forward, 12 backward.
#include "ops.h"
#include "softmax_row.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

void softmax(Context& context, const SoftmaxArgs& args) {
  context.blocks(args.rows, rowsPerTask(args.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = args.x + row * args.cols;
      float* y = args.y + row * args.cols;
      const float top = rowMax(x, args.cols);
      if (args.log) {
        const float rest = static_cast<float>(__builtin_log(rowExpSum(x, args.cols, top)));
        vectors(0, args.cols,
                [&](int64_t i, auto part) { part.put(y + i, (part.get(x + i) - top) - rest); });
      } else {
        const double total = rowExp(x, args.cols, top, y);
        rowScale(y, args.cols, static_cast<float>(1.0 / total));
      }
    }
  });
}

void softmaxBackward(Context& context, const SoftmaxBackwardArgs& args) {
  context.blocks(args.rows, rowsPerTask(args.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float *y = args.y + row * args.cols, *dy = args.dy + row * args.cols;
      float* dx = args.dx + row * args.cols;
      if (args.log) {
        const float total = static_cast<float>(
            fold<Sum>(0, args.cols, [&](int64_t i, auto part) { return part.get(dy + i); }));
        vectors(0, args.cols, [&](int64_t i, auto part) {
          part.put(dx + i, part.get(dy + i) - exp(part.get(y + i)) * total);
        });
      } else {
        const float total = static_cast<float>(fold<Sum>(0, args.cols, [&](int64_t i, auto part) {
          return part.get(y + i) * part.get(dy + i);
        }));
        vectors(0, args.cols, [&](int64_t i, auto part) {
          part.put(dx + i, part.get(y + i) * (part.get(dy + i) - total));
        });
      }
    }
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
