// sgd: one step of gradient descent, 12 bytes a parameter, 20 with momentum.
#include "../vectors.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// ---- kernels ------------------------------------------------------------------------------------

// p[count] and, unless null, buf[count], from g[count] and its factor gradScale[1] or null; nothing
// once a problem is noted
__global__ void __launch_bounds__(kThreads)
    sgdKernel(const Status* status, int64_t count, bool fours, float lr, float momentum,
              float decay, bool nesterov, bool first, const float* g, const float* gradScale,
              float* p, float* buf) {
  if (status->problem != 0) return;
  const float scale = gradScale != nullptr ? *gradScale : 1.0f;
  forEachPart(count, fours, [&](int64_t i, auto part) {
    auto weight = part.get(p + i), step = part.get(g + i);
    const auto decayed = [&](float slope, float w) { return slope * scale + decay * w; };
    step = map(decayed, step, weight);
    if (buf != nullptr) {
      const auto push = [&](float by, float slope) { return momentum * by + slope; };
      const auto moving = first ? step : map(push, part.get(buf + i), step);
      part.put(buf + i, moving);
      step = nesterov ? map(push, moving, step) : moving;
    }
    part.put(p + i, map([&](float w, float by) { return w - lr * by; }, weight, step));
  });
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void sgd(Context& context, const SgdArgs& args) {
  context.launch(sgdKernel, blocksFor(args.count, 4), dim3(kThreads), 0, context.status(),
                 args.count, aligned(args.g, args.p, args.buf), args.lr, args.momentum, args.decay,
                 args.nesterov, args.first, args.g, args.gradScale, args.p, args.buf);
}

}  // namespace cuda
}  // namespace einlinear
