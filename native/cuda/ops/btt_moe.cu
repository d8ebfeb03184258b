// bttMoe and bttMoeBackward: the fused einsum over each token's k chosen rank slices (experts).
//
// Tokens are ordered by their sets of experts, so that a tile of neighbours shares few; a tile runs
// the union of its experts, with weight zero for the tokens that did not choose one. FLOPs a token:
// 2 k p q (size in + size out) forward, the same again for dx and twice that for the factors.
// Bytes: x and y once, and from L2 x for each group of q and the union's factors for each tile.
#include "../column_sums.h"
#include "btt_moe_direct.h"
#include "btt_moe_fused.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

using btt::Choices;
using btt::Operator;

// dbias[features] = sum of dy[tokens, width] over the tokens, zero for features beyond the width.
void biasGradient(Context& context, int64_t tokens, int64_t width, int64_t features,
                  const float* dy, float* dbias) {
  const int64_t columns = width < features ? width : features;
  columnSums(context, 1, nullptr, tokens, columns, dy, width, dbias);
  fill(context, {features - columns, 0.0f, dbias + columns});
}

}  // namespace

void bttMoe(Context& context, const BttMoeArgs& args) {
  const Operator op = Operator::of(args.shape);
  const Choices choices{args.tokens, args.k, args.index, args.weight};
  bool done = false;
  switch (context.compute()) {
    case Compute::float32:
      done = btt::fusedForward<Float32>(context, op, choices, args);
      break;
    case Compute::tf32:
      done = btt::fusedForward<Tf32>(context, op, choices, args);
      break;
    case Compute::bfloat16:
      done = btt::fusedForward<Bf16>(context, op, choices, args);
      break;
  }
  if (!done) btt::direct::forward(context, op, choices, args.x, args.a, args.b, args.bias, args.y);
}

void bttMoeBackward(Context& context, const BttMoeBackwardArgs& args) {
  const Operator op = Operator::of(args.shape);
  const Choices choices{args.tokens, args.k, args.index, args.weight};
  if (args.dbias != nullptr)
    biasGradient(context, args.tokens, args.shape.dOut, args.shape.outer(), args.dy, args.dbias);
  bool done = false;
  switch (context.compute()) {
    case Compute::float32:
      done = btt::fusedBackward<Float32>(context, op, choices, args);
      break;
    case Compute::tf32:
      done = btt::fusedBackward<Tf32>(context, op, choices, args);
      break;
    case Compute::bfloat16:
      done = btt::fusedBackward<Bf16>(context, op, choices, args);
      break;
  }
  if (!done)
    btt::direct::backward(context, op, choices, args.x, args.a, args.b, args.dy, args.dx, args.da,
                          args.db, args.dweight);
}

}  // namespace cuda
}  // namespace einlinear
