// adam: one step of Adam or AdamW, 28 bytes a parameter (p, m and v read and written, g read).
#include "ops.h"
#include "vectors.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

void adam(Context& context, const AdamArgs& args) {
  const float scale = args.gradScale != nullptr ? *args.gradScale : 1.0f;
  const float keep = args.decoupled ? static_cast<float>(1.0 - args.lr * args.decay) : 1.0f;
  const float pull = args.decoupled ? 0.0f : static_cast<float>(args.decay);
  const float beta1 = static_cast<float>(args.beta1), rest1 = static_cast<float>(1.0 - args.beta1);
  const float beta2 = static_cast<float>(args.beta2), rest2 = static_cast<float>(1.0 - args.beta2);
  const float step = static_cast<float>(args.lr / args.correction1);
  const float root = static_cast<float>(1.0 / __builtin_sqrt(args.correction2));
  const float eps = static_cast<float>(args.eps);
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    Vec p = part.get(args.p + i);
    Vec g = part.get(args.g + i) * scale;
    if (pull != 0.0f) g += pull * p;
    p *= keep;
    const Vec m = beta1 * part.get(args.m + i) + rest1 * g;
    const Vec v = beta2 * part.get(args.v + i) + rest2 * (g * g);
    part.put(args.m + i, m);
    part.put(args.v + i, v);
    part.put(args.p + i, p - step * m / (sqrt(v) * root + eps));
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
