// bttMoe, bttMoeBackward: the fused einsum over each token's k chosen rank slices.
//
// Tokens are sorted by expert; each expert then runs the tile of einsum_tile.h over its own tokens,
// gathering rows of x and adding weighted rows to y: k/experts of the full rank's MACs. A token
// occurs once in an expert's list, so tiles of one expert never meet in a row, and experts
// follow one another: the order of additions is fixed.
#include "einsum_tile.h"
#include "indices.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr int64_t kMaxChunks = 16;

// The (token, slot) pairs of each expert, in token order.
struct ExpertOrder {
  const int32_t* order;
  const int32_t* offsets;

  // Takes scratch slots 0 and 6.
  ExpertOrder(Context& context, int64_t pairs, int64_t experts, const int32_t* index) {
    checkIndices("expert indices", index, pairs, experts);
    int32_t* memory = reinterpret_cast<int32_t*>(context.scratch(0, pairs + experts + 1));
    order = memory;
    offsets = memory + pairs;
    sortByKey(context, index, pairs, experts, memory, memory + pairs, 6);
  }
  int64_t count(int64_t expert) const { return offsets[expert + 1] - offsets[expert]; }
};

// A tile of an expert's tokens.
struct ExpertTile {
  int64_t token[kLanes], pair[kLanes];
  int count;

  ExpertTile(const ExpertOrder& order, int64_t expert, int64_t tile, int64_t k)
      : count(static_cast<int>(minOf(kLanes, order.count(expert) - tile * kLanes))) {
    for (int lane = 0; lane < count; ++lane) {
      pair[lane] = order.order[order.offsets[expert] + tile * kLanes + lane];
      token[lane] = pair[lane] / k;
    }
  }

  template <class T>
  void rows(T* base, int64_t width, T** to) const {
    for (int lane = 0; lane < count; ++lane) to[lane] = base + token[lane] * width;
  }
};

// tile[row, lane] *= gate[lane]
void scaleLanes(float* tile, int64_t rows, const float* gate) {
  for (int64_t i = 0; i < rows; ++i)
    for (int lane = 0; lane < kLanes; lane += kWidth)
      store(tile + i * kLanes + lane, load(tile + i * kLanes + lane) * load(gate + lane));
}

}  // namespace

void bttMoe(Context& context, const BttMoeArgs& args) {
  if (args.tokens == 0) return;
  const int64_t experts = args.shape.rho;
  const EinsumPlan plan(args.shape, false, 1);
  const ExpertOrder order(context, args.tokens * args.k, experts, args.index);
  float* first = context.scratch(1, experts * plan.firstSize() + kWidth);
  float* second = context.scratch(2, experts * plan.secondSize() + kWidth);
  const auto packedOf = [&](int64_t expert) {
    PackedFactors packed;
    packed.first = first + expert * plan.firstSize();
    packed.second = second + expert * plan.secondSize();
    return packed;
  };
  context.parallel(experts * packTasks(plan), [&](int64_t task, int) {
    const int64_t expert = task / packTasks(plan);
    if (order.count(expert) == 0) return;
    packFactors(plan, args.a, args.b, expert, packedOf(expert), task % packTasks(plan));
  });
  const int64_t features = plan.featuresOut();
  context.blocks(args.tokens, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* y = args.y + t * plan.dOut;
      std::memset(y, 0, static_cast<size_t>(plan.dOut) * sizeof(float));
      if (args.bias != nullptr)
        std::memcpy(y, args.bias, static_cast<size_t>(features) * sizeof(float));
    }
  });

  const int64_t perWorker = (plan.inner + plan.outer) * kLanes + plan.zFloats();
  float* tiles = context.scratch(3, perWorker * context.workers());
  for (int64_t expert = 0; expert < experts; ++expert) {
    const PackedFactors packed = packedOf(expert);
    context.parallel(ceilDiv(order.count(expert), kLanes), [&](int64_t task, int worker) {
      float *xt = tiles + worker * perWorker, *yt = xt + plan.inner * kLanes,
            *z = yt + plan.outer * kLanes;
      const ExpertTile tile(order, expert, task, args.k);
      const float* in[kLanes];
      float* out[kLanes];
      float gate[kLanes];
      tile.rows(args.x, plan.dIn, in);
      tile.rows(args.y, plan.dOut, out);
      for (int lane = 0; lane < tile.count; ++lane) gate[lane] = args.weight[tile.pair[lane]];
      zeroRows(xt, plan.featuresIn(), plan.inner);
      rowsToTile(in, tile.count, plan.featuresIn(), xt);
      for (int64_t q = 0; q < plan.groups; ++q) {
        stageOne(plan, packed.first, q, xt, tile.count, z);
        stageTwo(plan, packed.second, q, z, tile.count, yt);
      }
      tileToRows(yt, kLanes, features, out, tile.count, gate);
    });
  }
}

void bttMoeBackward(Context& context, const BttMoeBackwardArgs& args) {
  const int64_t experts = args.shape.rho;
  const EinsumPlan plan(args.shape, false, 1);
  const ExpertOrder order(context, args.tokens * args.k, experts, args.index);
  const bool needsZ = args.db != nullptr || args.dweight != nullptr;
  float* first = needsZ ? context.scratch(1, experts * plan.firstSize() + kWidth) : nullptr;
  float* secondBack = context.scratch(2, experts * plan.secondSize() + kWidth);
  float* firstBack =
      args.dx != nullptr ? context.scratch(3, experts * plan.firstSize() + kWidth) : nullptr;
  const auto packedOf = [&](int64_t expert) {
    PackedFactors packed;
    if (first != nullptr) packed.first = first + expert * plan.firstSize();
    packed.secondBack = secondBack + expert * plan.secondSize();
    if (firstBack != nullptr) packed.firstBack = firstBack + expert * plan.firstSize();
    return packed;
  };
  context.parallel(experts * packTasks(plan), [&](int64_t task, int) {
    const int64_t expert = task / packTasks(plan);
    if (order.count(expert) == 0) return;
    packFactors(plan, args.a, args.b, expert, packedOf(expert), task % packTasks(plan));
  });
  if (args.dx != nullptr)
    context.blocks(args.tokens, 64, [&](int64_t begin, int64_t end) {
      std::memset(args.dx + begin * plan.dIn, 0,
                  static_cast<size_t>((end - begin) * plan.dIn) * sizeof(float));
    });
  if (args.dbias != nullptr) {
    const int64_t features = plan.featuresOut();
    context.blocks(plan.outer, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) args.dbias[i] = 0;
      for (int64_t t = 0; t < args.tokens; ++t)
        for (int64_t i = begin; i < minOf(end, features); ++i)
          args.dbias[i] += args.dy[t * plan.dOut + i];
    });
  }

  const int64_t partial = plan.firstGradient() + plan.secondGradient();
  float* partials = context.scratch(4, partial * kMaxChunks);
  const int64_t perWorker =
      (2 * plan.inner + plan.outer) * kLanes + 2 * plan.zFloats() + gradientScratch(plan);
  float* tiles = context.scratch(5, perWorker * context.workers());
  float ones[kLanes];
  for (float& one : ones) one = 1.0f;

  for (int64_t expert = 0; expert < experts; ++expert) {
    const PackedFactors packed = packedOf(expert);
    const int64_t tileCount = ceilDiv(order.count(expert), kLanes);
    const int64_t perChunk = ceilDiv(tileCount, minOf(maxOf(tileCount, 1), kMaxChunks));
    const int64_t chunks = perChunk == 0 ? 0 : ceilDiv(tileCount, perChunk);
    context.parallel(chunks, [&](int64_t chunk, int worker) {
      float *pf = partials + chunk * partial, *ps = pf + plan.firstGradient();
      std::memset(pf, 0, static_cast<size_t>(partial) * sizeof(float));
      float *xt = tiles + worker * perWorker, *dxt = xt + plan.inner * kLanes,
            *dyt = dxt + plan.inner * kLanes;
      float *z = dyt + plan.outer * kLanes, *dz = z + plan.zFloats(),
            *scratch = dz + plan.zFloats();
      zeroRows(xt, plan.featuresIn(), plan.inner);
      zeroRows(dyt, plan.featuresOut(), plan.outer);
      for (int64_t at = chunk * perChunk; at < minOf((chunk + 1) * perChunk, tileCount); ++at) {
        const ExpertTile tile(order, expert, at, args.k);
        const float *in[kLanes], *grad[kLanes];
        tile.rows(args.x, plan.dIn, in);
        tile.rows(args.dy, plan.dOut, grad);
        alignas(64) float gate[kLanes] = {};
        for (int lane = 0; lane < tile.count; ++lane) gate[lane] = args.weight[tile.pair[lane]];
        rowsToTile(in, tile.count, plan.featuresIn(), xt);
        rowsToTile(grad, tile.count, plan.featuresOut(), dyt);
        Vec gateGradient[kLanes / kWidth] = {};
        for (int64_t q = 0; q < plan.groups; ++q) {
          const int64_t rows = plan.groupSize(q) * plan.depth;
          stageTwoBack(plan, packed.secondBack, q, dyt, tile.count, dz);
          if (needsZ) stageOne(plan, packed.first, q, xt, tile.count, z);
          if (args.dweight != nullptr)
            for (int64_t i = 0; i < rows; ++i)
              for (int v = 0; v < kLanes / kWidth; ++v)
                gateGradient[v] +=
                    load(z + i * kLanes + v * kWidth) * load(dz + i * kLanes + v * kWidth);
          if (args.db != nullptr) {
            scaleLanes(z, rows, gate);
            secondGradient(plan, q, dyt, z, tile.count, scratch, ps);
          }
          if (args.da == nullptr && args.dx == nullptr) continue;
          scaleLanes(dz, rows, gate);
          if (args.da != nullptr) firstGradient(plan, q, xt, dz, tile.count, scratch, pf);
          if (args.dx != nullptr) stageOneBack(plan, packed.firstBack, q, dz, tile.count, dxt);
        }
        if (args.dx != nullptr) {
          float* out[kLanes];
          tile.rows(args.dx, plan.dIn, out);
          tileToRows(dxt, kLanes, plan.featuresIn(), out, tile.count, ones);
        }
        if (args.dweight != nullptr)
          for (int lane = 0; lane < tile.count; ++lane)
            args.dweight[tile.pair[lane]] = gateGradient[lane / kWidth][lane % kWidth];
      }
    });
    context.parallel(packTasks(plan), [&](int64_t task, int) {
      reduceGradients(plan, partials, chunks, partial, expert, args.da, args.db, task);
    });
  }
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
