// layerNorm and layerNormBackward, of rows [rows, cols].
//
// Statistics in two passes (the mean, then the squares about it), with double totals. The gradients
// of gain and bias are sums over rows: kRows rows at a time, then over those partial sums in order.
// Memory: 8 bytes an element forward, 12 backward and 1/16 of that for the partial sums.
#include "fold.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr int64_t kRows = 64;

// The vector of gain or bias at column i, or what stands for it where there is none.
template <class P>
inline Vec column(const float* p, int64_t i, P part, float otherwise) {
  return p != nullptr ? part.get(p + i) : splat(otherwise);
}

}  // namespace

void layerNorm(Context& context, const LayerNormArgs& args) {
  const int64_t cols = args.cols;
  context.blocks(args.rows, rowsPerTask(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = args.x + row * cols;
      float* y = args.y + row * cols;
      const double total =
          fold<Sum>(0, cols, [&](int64_t i, auto part) { return part.get(x + i); });
      const float mean = static_cast<float>(total / static_cast<double>(cols));
      const double squares = fold<Sum>(0, cols, [&](int64_t i, auto part) {
        const Vec d = part.get(x + i) - mean;
        return d * d;
      });
      const double variance = squares / static_cast<double>(cols);
      const float rstd =
          static_cast<float>(1.0 / __builtin_sqrt(variance + static_cast<double>(args.eps)));
      vectors(0, cols, [&](int64_t i, auto part) {
        const Vec normalised = (part.get(x + i) - mean) * rstd;
        part.put(y + i,
                 normalised * column(args.gain, i, part, 1.0f) + column(args.bias, i, part, 0.0f));
      });
      args.mean[row] = mean;
      args.rstd[row] = rstd;
    }
  });
}

void layerNormBackward(Context& context, const LayerNormBackwardArgs& args) {
  const int64_t cols = args.cols, blocks = ceilDiv(args.rows, kRows);
  float* dgain = args.dgain != nullptr ? context.scratch(0, blocks * cols) : nullptr;
  float* dbias = args.dbias != nullptr ? context.scratch(1, blocks * cols) : nullptr;
  context.blocks(args.rows, kRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float *x = args.x + row * cols, *dy = args.dy + row * cols;
      float* dx = args.dx + row * cols;
      const float mean = args.mean[row], rstd = args.rstd[row];
      const double scale = 1.0 / static_cast<double>(cols);
      const float average =
          static_cast<float>(scale * fold<Sum>(0, cols, [&](int64_t i, auto part) {
                               return part.get(dy + i) * column(args.gain, i, part, 1.0f);
                             }));
      const float along = static_cast<float>(
          scale * fold<Sum>(0, cols, [&](int64_t i, auto part) {
            const Vec normalised = (part.get(x + i) - mean) * rstd;
            return part.get(dy + i) * column(args.gain, i, part, 1.0f) * normalised;
          }));
      float* dg = dgain != nullptr ? dgain + begin / kRows * cols : nullptr;
      float* db = dbias != nullptr ? dbias + begin / kRows * cols : nullptr;
      const bool add = row > begin;
      vectors(0, cols, [&](int64_t i, auto part) {
        const Vec normalised = (part.get(x + i) - mean) * rstd, d = part.get(dy + i);
        const Vec g = d * column(args.gain, i, part, 1.0f);
        part.put(dx + i, rstd * (g - average - normalised * along));
        if (dg != nullptr) part.put(dg + i, (add ? part.get(dg + i) : Vec{}) + d * normalised);
        if (db != nullptr) part.put(db + i, (add ? part.get(db + i) : Vec{}) + d);
      });
    }
  });
  const auto same = [](double total) { return static_cast<float>(total); };
  if (args.dgain != nullptr) foldColumns<Sum>(context, 1, blocks, cols, dgain, args.dgain, 2, same);
  if (args.dbias != nullptr) foldColumns<Sum>(context, 1, blocks, cols, dbias, args.dbias, 2, same);
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
