// bttMoe and bttMoeBackward
#include "../grid.h"
#include "btt_moe_direct.h"
#include "ops.h"

namespace einlinear {
namespace cuda {

using btt::Choices;
using btt::Operator;

namespace {

// to[i] = i < count ? from[i] : 0, i < size
__global__ void padKernel(int64_t count, int64_t size, const float* from, float* to) {
  forEach(size, [&](int64_t i) { to[i] = i < count ? from[i] : 0.0f; });
}

// dbias[features] = sum of dy[tokens, width] over the tokens, cut or padded with zeros.
void biasGradient(Context& context, int64_t tokens, int64_t width, int64_t features,
                  const float* dy, float* dbias) {
  constexpr int kSlot = Context::kSlots - 1;  // one that reduce leaves alone
  float* sums = width == features ? dbias : context.scratch<float>(kSlot, width);
  reduce(context, {Reduction::sum, 1, tokens, width, dy, sums});
  if (sums != dbias)
    context.launch(padKernel, blocksFor(features), dim3(kThreads), 0,
                   width < features ? width : features, features, sums, dbias);
}

}  // namespace

void bttMoe(Context& context, const BttMoeArgs& args) {
  const Choices choices{args.tokens, args.k, args.index, args.weight};
  btt::direct::forward(context, Operator::of(args.shape), choices, args.x, args.a, args.b,
                       args.bias, args.y);
}

void bttMoeBackward(Context& context, const BttMoeBackwardArgs& args) {
  const Operator op = Operator::of(args.shape);
  const Choices choices{args.tokens, args.k, args.index, args.weight};
  if (args.dbias != nullptr)
    biasGradient(context, args.tokens, args.shape.dOut, args.shape.outer(), args.dy, args.dbias);
  btt::direct::backward(context, op, choices, args.x, args.a, args.b, args.dy, args.dx, args.da,
                        args.db, args.dweight);
}

}  // namespace cuda
}  // namespace einlinear
