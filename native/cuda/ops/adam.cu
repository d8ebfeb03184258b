// adam: one step of Adam or AdamW, 28 bytes a parameter (p, m and v read and written, g read).
#include <cmath>

#include "../vectors.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// What AdamArgs come to in the precision of the parameters.
struct Step {
  float keep, pull;  // weight decay: p *= keep, g += pull * p
  float beta1, rest1, beta2, rest2;
  float rate, root, eps;
};

// ---- kernels ------------------------------------------------------------------------------------

// p, m, v[count], from g[count] and its factor gradScale[1] or null; nothing once a problem is
// noted
__global__ void __launch_bounds__(kThreads)
    adamKernel(const Status* status, int64_t count, bool fours, Step step, const float* g,
               const float* gradScale, float* p, float* m, float* v) {
  if (status->problem != 0) return;
  const float scale = gradScale != nullptr ? *gradScale : 1.0f;
  forEachPart(count, fours, [&](int64_t i, auto part) {
    auto weight = part.get(p + i), gradient = part.get(g + i);
    auto first = part.get(m + i), second = part.get(v + i);
#pragma unroll
    for (int k = 0; k < part.kCount; ++k) {
      float slope = gradient.at[k] * scale;
      if (step.pull != 0.0f) slope += step.pull * weight.at[k];
      first.at[k] = step.beta1 * first.at[k] + step.rest1 * slope;
      second.at[k] = step.beta2 * second.at[k] + step.rest2 * (slope * slope);
      weight.at[k] = weight.at[k] * step.keep -
                     step.rate * first.at[k] / (sqrtf(second.at[k]) * step.root + step.eps);
    }
    part.put(m + i, first);
    part.put(v + i, second);
    part.put(p + i, weight);
  });
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void adam(Context& context, const AdamArgs& args) {
  Step step;
  step.keep = args.decoupled ? static_cast<float>(1.0 - args.lr * args.decay) : 1.0f;
  step.pull = args.decoupled ? 0.0f : static_cast<float>(args.decay);
  step.beta1 = static_cast<float>(args.beta1);
  step.rest1 = static_cast<float>(1.0 - args.beta1);
  step.beta2 = static_cast<float>(args.beta2);
  step.rest2 = static_cast<float>(1.0 - args.beta2);
  step.rate = static_cast<float>(args.lr / args.correction1);
  step.root = static_cast<float>(1.0 / std::sqrt(args.correction2));
  step.eps = static_cast<float>(args.eps);
  context.launch(adamKernel, blocksFor(args.count, 4), dim3(kThreads), 0, context.status(),
                 args.count, aligned(args.g, args.p, args.m, args.v), step, args.g, args.gradScale,
                 args.p, args.m, args.v);
}

}  // namespace cuda
}  // namespace einlinear
