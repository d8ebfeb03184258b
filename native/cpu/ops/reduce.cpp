// reduce: sum, mean, max or min over the middle axis of [outer, length, inner].
//
// Reads 4 bytes an element. The mean of nothing is NaN, its sum 0, its max -infinity and its min
// infinity; a NaN makes the result NaN.
#include "fold.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

// inner == 1: rows are contiguous; long ones are cut.
template <class Kind, class Finish>
void foldRows(Context& context, const ReduceArgs& args, const Finish& finish) {
  constexpr int64_t kPiece = 2 * kChunk;
  const int64_t pieces = maxOf(1, ceilDiv(args.length, kPiece));
  double* partial = reinterpret_cast<double*>(context.scratch(0, 2 * args.outer * pieces));
  context.blocks(args.outer * pieces, rowsPerTask(minOf(args.length, kPiece)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t at = begin; at < end; ++at) {
                     const float* row = args.x + at / pieces * args.length;
                     const int64_t from = at % pieces * kPiece;
                     partial[at] =
                         fold<Kind>(from, minOf(from + kPiece, args.length),
                                    [&](int64_t i, auto part) { return part.get(row + i); });
                   }
                 });
  for (int64_t o = 0; o < args.outer; ++o) {
    double total = Kind::kIdentity;
    for (int64_t piece = 0; piece < pieces; ++piece)
      total = Kind::join(total, partial[o * pieces + piece]);
    args.y[o] = finish(total);
  }
}

template <class Kind, class Finish>
void apply(Context& context, const ReduceArgs& args, const Finish& finish) {
  if (args.inner == 1)
    foldRows<Kind>(context, args, finish);
  else
    foldColumns<Kind>(context, args.outer, args.length, args.inner, args.x, args.y, 0, finish);
}

}  // namespace

void reduce(Context& context, const ReduceArgs& args) {
  const auto same = [](double total) { return static_cast<float>(total); };
  switch (args.kind) {
    case Reduction::sum:
      return apply<Sum>(context, args, same);
    case Reduction::mean: {
      const double length = static_cast<double>(args.length);
      return apply<Sum>(context, args,
                        [&](double total) { return static_cast<float>(total / length); });
    }
    case Reduction::max:
      return apply<Max>(context, args, same);
    case Reduction::min:
      return apply<Min>(context, args, same);
  }
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
