// sumSquares and clipScale: the norm of all gradients and the factor that bounds it. 4 bytes a
// number.
#include "dot.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// ---- kernels ------------------------------------------------------------------------------------

// y[1] = sum of partials. One warp.
__global__ void sumSquaresKernel(DotPartials partials, float* y) {
  const double sum = dotSum(partials);
  if (threadIdx.x == 0) *y = static_cast<float>(sum);
}

// norm[1] = sqrt(sum of squares[count]); scale[1] = min(1, maxNorm / (norm + 1e-6)). One warp.
__global__ void clipScaleKernel(int64_t count, float maxNorm, const float* squares, float* norm,
                                float* scale) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += 32) sum += static_cast<double>(squares[i]);
  const double length = sqrt(warpReduce<Sum>(sum));
  const double factor = static_cast<double>(maxNorm) / (length + 1e-6);
  if (threadIdx.x != 0) return;
  *norm = static_cast<float>(length);
  *scale = factor >= 1.0 ? 1.0f : static_cast<float>(factor);  // NaN stays
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void sumSquares(Context& context, const SumSquaresArgs& args) {
  const DotPartials partials = dotPartials(context, args.count, args.x, args.x, 0);
  context.launch(sumSquaresKernel, dim3(1), dim3(32), 0, partials, args.y + args.slot);
}

void clipScale(Context& context, const ClipScaleArgs& args) {
  context.launch(clipScaleKernel, dim3(1), dim3(32), 0, args.count, args.maxNorm, args.squares,
                 args.norm, args.scale);
}

}  // namespace cuda
}  // namespace einlinear
