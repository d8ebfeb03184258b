// sgd: one step of gradient descent, 12 bytes a parameter, 20 with momentum.
#include "ops.h"
#include "vectors.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

void sgd(Context& context, const SgdArgs& args) {
  const float scale = args.gradScale != nullptr ? *args.gradScale : 1.0f;
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    const Vec p = part.get(args.p + i);
    const Vec g = part.get(args.g + i) * scale + args.decay * p;
    Vec step = g;
    if (args.buf != nullptr) {
      const Vec buf = args.first ? g : args.momentum * part.get(args.buf + i) + g;
      part.put(args.buf + i, buf);
      step = args.nesterov ? g + args.momentum * buf : buf;
    }
    part.put(args.p + i, p - args.lr * step);
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
