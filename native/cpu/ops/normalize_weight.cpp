// normalizeWeight and its backward: y = w / max(1, rms(w) / rms0) * gain.
//
// Two passes each, as the norm needs all of w: 12 bytes a weight forward, 20 backward (two arrays
// twice, one written), less where w fits in cache.
#include "fold.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

// max(1, rms / rms0), NaN for a NaN
inline double divisor(float rms, float rms0) {
  const double ratio = static_cast<double>(rms) / static_cast<double>(rms0);
  return ratio <= 1.0 ? 1.0 : ratio;
}

}  // namespace

void normalizeWeight(Context& context, const NormalizeWeightArgs& args) {
  const double squares = parallelSum(context, args.count, 0, [&](int64_t i, auto part) {
    const Vec w = part.get(args.w + i);
    return w * w;
  });
  const double mean = squares / static_cast<double>(maxOf(1, args.count));
  const float rms = static_cast<float>(__builtin_sqrt(mean + static_cast<double>(args.eps)));
  const double gain = args.gain != nullptr ? static_cast<double>(*args.gain) : 1.0;
  const float factor = static_cast<float>(gain / divisor(rms, args.rms0));
  *args.rms = rms;
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    part.put(args.y + i, part.get(args.w + i) * factor);
  });
}

void normalizeWeightBackward(Context& context, const NormalizeWeightBackwardArgs& args) {
  const double by = divisor(*args.rms, args.rms0), rms = static_cast<double>(*args.rms);
  const double gain = args.gain != nullptr ? static_cast<double>(*args.gain) : 1.0;
  const bool normalised = by != 1.0;
  double along = 0;  // <dy, w>
  if (normalised || args.dgain != nullptr)
    along = parallelSum(context, args.count, 0, [&](int64_t i, auto part) {
      return part.get(args.dy + i) * part.get(args.w + i);
    });
  if (args.dgain != nullptr) *args.dgain = static_cast<float>(along / by);
  // d by / d w = w / (count * rms * rms0) where by = rms / rms0, so
  // dw = gain / by * (dy - w * <dy, w> / (count * rms^2)).
  const float factor = static_cast<float>(gain / by);
  if (!normalised) {
    parallelVectors(context, args.count, [&](int64_t i, auto part) {
      part.put(args.dw + i, factor * part.get(args.dy + i));
    });
    return;
  }
  const float back = static_cast<float>(along / (static_cast<double>(args.count) * rms * rms));
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    part.put(args.dw + i, factor * (part.get(args.dy + i) - back * part.get(args.w + i)));
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
