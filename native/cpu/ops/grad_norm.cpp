// sumSquares and clipScale: the norm of all gradients and the factor that bounds it. 4 bytes a
// number.
#include "fold.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

void sumSquares(Context& context, const SumSquaresArgs& args) {
  args.y[args.slot] =
      static_cast<float>(parallelSum(context, args.count, 0, [&](int64_t i, auto part) {
        const Vec x = part.get(args.x + i);
        return x * x;
      }));
}

void clipScale(Context&, const ClipScaleArgs& args) {
  double total = 0;
  for (int64_t i = 0; i < args.count; ++i) total += static_cast<double>(args.squares[i]);
  const double norm = __builtin_sqrt(total);
  const double scale = static_cast<double>(args.maxNorm) / (norm + 1e-6);
  *args.norm = static_cast<float>(norm);
  *args.scale = scale >= 1.0 ? 1.0f : static_cast<float>(scale);  // NaN stays
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
