// normalizeWeight and its backward: y = w / max(1, rms(w) / rms0) * gain.
//
// Two passes each, as the norm needs all of w, with one warp between them: 12 bytes a weight
// forward, 20 backward (two arrays twice, one written), less where w fits in the cache.
#include "../vectors.h"
#include "dot.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// max(1, rms / rms0), NaN for a NaN
__device__ inline double divisor(float rms, float rms0) {
  const double ratio = static_cast<double>(rms) / static_cast<double>(rms0);
  return ratio <= 1.0 ? 1.0 : ratio;
}

// ---- kernels ------------------------------------------------------------------------------------

// rms[1], and factor[1], which y is w times. gain: [1] or null. One warp.
__global__ void factorKernel(DotPartials squares, int64_t count, float rms0, float eps,
                             const float* gain, float* rms, float* factor) {
  const double mean = dotSum(squares) / static_cast<double>(count > 0 ? count : 1);
  if (threadIdx.x != 0) return;
  *rms = static_cast<float>(sqrt(mean + static_cast<double>(eps)));
  *factor = static_cast<float>((gain != nullptr ? static_cast<double>(*gain) : 1.0) /
                               divisor(*rms, rms0));
}

// y[count] = factor[1] * w[count]
__global__ void __launch_bounds__(kThreads)
    scaleKernel(int64_t count, bool fours, const float* factor, const float* w, float* y) {
  const float by = *factor;
  forEachPart(count, fours, [&](int64_t i, auto part) {
    part.put(y + i, map([&](float each) { return each * by; }, part.get(w + i)));
  });
}

// dgain[1] or null, and factors[2] for backwardKernel, from <dy, w>. rms: [1]; gain: [1] or null.
// One warp.
// d by / d w = w / (count * rms * rms0) where by = rms / rms0, so
// dw = gain / by * (dy - w * <dy, w> / (count * rms^2)).
__global__ void backwardFactorsKernel(DotPartials dot, int64_t count, float rms0, const float* gain,
                                      const float* rms, float* dgain, float* factors) {
  const double along = dotSum(dot);
  if (threadIdx.x != 0) return;
  const double by = divisor(*rms, rms0), root = static_cast<double>(*rms);
  factors[0] = static_cast<float>((gain != nullptr ? static_cast<double>(*gain) : 1.0) / by);
  factors[1] =
      by == 1.0 ? 0.0f : static_cast<float>(along / (static_cast<double>(count) * root * root));
  if (dgain != nullptr) *dgain = static_cast<float>(along / by);
}

// dw[count] = factors[0] * (dy[count] - factors[1] * w[count])
__global__ void __launch_bounds__(kThreads)
    backwardKernel(int64_t count, bool fours, const float* factors, const float* w, const float* dy,
                   float* dw) {
  const float factor = factors[0], back = factors[1];
  forEachPart(count, fours, [&](int64_t i, auto part) {
    const auto gradient = [&](float d, float weight) { return factor * (d - back * weight); };
    part.put(dw + i, map(gradient, part.get(dy + i), part.get(w + i)));
  });
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void normalizeWeight(Context& context, const NormalizeWeightArgs& args) {
  const DotPartials squares = dotPartials(context, args.count, args.w, args.w, 0);
  float* factor = context.scratch<float>(1, 1);
  context.launch(factorKernel, dim3(1), dim3(32), 0, squares, args.count, args.rms0, args.eps,
                 args.gain, args.rms, factor);
  context.launch(scaleKernel, blocksFor(args.count, 4), dim3(kThreads), 0, args.count,
                 aligned(args.w, args.y), factor, args.w, args.y);
}

void normalizeWeightBackward(Context& context, const NormalizeWeightBackwardArgs& args) {
  const DotPartials dot = dotPartials(context, args.count, args.dy, args.w, 0);
  float* factors = context.scratch<float>(1, 2);
  context.launch(backwardFactorsKernel, dim3(1), dim3(32), 0, dot, args.count, args.rms0, args.gain,
                 args.rms, args.dgain, factors);
  context.launch(backwardKernel, blocksFor(args.count, 4), dim3(kThreads), 0, args.count,
                 aligned(args.w, args.dy, args.dw), factors, args.w, args.dy, args.dw);
}

}  // namespace cuda
}  // namespace einlinear
