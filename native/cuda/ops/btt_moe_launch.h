// Launchers of the fused BTT-MoE kernels; one source file an arithmetic instantiates them.
#pragma once

#include "btt_moe_forward.h"
#include "btt_moe_fused.h"
#include "btt_moe_gradient.h"
#include "btt_moe_operands.h"

namespace einlinear {
namespace cuda {
namespace btt {

// Blocks that keep any device busy; shares of an expert's tokens stop there.
constexpr int64_t kEnoughBlocks = 512, kMostSplits = 16, kLeastPairs = 64;

// y = the operator on rows packed before. Uses scratch slots 3 and 4.
template <class Math>
void runForward(Context& context, const Operator& op, const ForwardTile& tile,
                const Choices& choices, const int32_t* order, const typename Math::Element* rows,
                const float* first, const float* second, const float* bias, float* y) {
  const auto* packedFirst = packFactor<Math>(context, op, false, tile.ps, tile.qs, first, 3);
  const auto* packedSecond = packFactor<Math>(context, op, true, tile.ps, tile.qs, second, 4);
  const int64_t blocks = times(ceilDiv(choices.tokens, tile.tokens), tile.qGroups);
  context.launch(forwardKernel<Math>, dim3(static_cast<unsigned>(blocks)), dim3(32 * tile.warps),
                 tile.shared, tile, choices, op.out, order,
                 static_cast<int64_t>(paddedSize(op.in.groups)) * tile.size, rows, packedFirst,
                 packedSecond, bias, y);
}

template <class Math>
bool fusedForward(Context& context, const Operator& op, const Choices& choices,
                  const BttMoeArgs& args) {
  ForwardTile tile = {};
  if (!planForward<Math>(op, args.tokens, args.k, sharedLimit(), context.multiprocessors(), &tile))
    return false;
  const int32_t* order = orderBySet(context, choices, op.experts, 0);
  const auto* rows = packRows<Math>(context, args.tokens, op.in, args.x, 2);
  runForward<Math>(context, op, tile, choices, order, rows, args.a, args.b, args.bias, args.y);
  return true;
}

template <class Math>
bool fusedBackward(Context& context, const Operator& op, const Choices& choices,
                   const BttMoeBackwardArgs& args) {
  using Element = typename Math::Element;
  const Operator back = op.mirrored();
  ForwardTile tile = {};
  GradientTile gradientTile = {};
  const int limit = sharedLimit();
  if (!planForward<Math>(back, args.tokens, args.k, limit, context.multiprocessors(), &tile) ||
      !planGradient<Math>(op, args.k, limit, &gradientTile))
    return false;
  const Element* dy = packRows<Math>(context, args.tokens, op.out, args.dy, 2);
  if (args.dx != nullptr) {
    const int32_t* order = orderBySet(context, choices, op.experts, 0);
    runForward<Math>(context, back, tile, choices, order, dy, args.b, args.a, nullptr, args.dx);
  }
  if (args.da == nullptr && args.db == nullptr && args.dweight == nullptr) return true;

  const GradientTile& t = gradientTile;
  const int64_t pairs = args.tokens * args.k, groups = static_cast<int64_t>(t.pGroups) * t.qGroups;
  const Element* x = packRows<Math>(context, args.tokens, op.in, args.x, 5);
  int32_t* order = context.scratch<int32_t>(6, pairs + op.experts + 1);
  int32_t* offsets = order + pairs;
  sortByKey(context, args.index, pairs, op.experts, order, offsets, 1, Problem::expertIndex);
  const Element* a = packFactor<Math>(context, op, false, t.ps, t.qs, args.a, 7);
  const Element* b = packFactor<Math>(context, back, false, t.qs, t.ps, args.b, 8);

  const int64_t wanted = ceilDiv(kEnoughBlocks, op.experts * groups);
  const int64_t useful = ceilDiv(pairs, op.experts * kLeastPairs);
  int64_t splits = wanted < useful ? wanted : useful;
  splits = splits < 1 ? 1 : splits > kMostSplits ? kMostSplits : splits;
  const int64_t sizeA = args.shape.sizeA(), sizeB = args.shape.sizeB();
  float *da = args.da, *db = args.db, *dweight = args.dweight;
  if (splits > 1) {
    float* partial = context.scratch<float>(9, splits * (sizeA + sizeB));
    if (da != nullptr) da = partial;
    if (db != nullptr) db = partial + splits * sizeA;
  }
  if (dweight != nullptr) dweight = context.scratch<float>(10, pairs * groups);
  context.launch(gradientKernel<Math>, dim3(static_cast<unsigned>(splits * op.experts * groups)),
                 dim3(32 * t.warps), t.shared, t, op, choices, static_cast<int>(splits), order,
                 offsets, x, dy, a, b, da, db, dweight);
  const auto sumSplits = [&](int64_t count, const float* partial, float* to) {
    if (to != nullptr && partial != to)
      context.launch(sumSplitsKernel, blocksFor(count), dim3(kThreads), 0, static_cast<int>(splits),
                     count, partial, to);
  };
  sumSplits(sizeA, da, args.da);
  sumSplits(sizeB, db, args.db);
  if (dweight != nullptr)
    context.launch(sumProductsKernel, blocksFor(pairs), dim3(kThreads), 0, choices, op.experts,
                   static_cast<int>(groups), dweight, args.dweight);
  return true;
}

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
