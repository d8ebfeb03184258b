// einsum, einsumBackward: the fused two-factor layer.
//
// Forward, a tile of tokens: transpose in, both stages on lane tiles, transpose out: x and y move
// once, z stays in cache; 2 * MACs FLOPs. Backward recomputes z (never stored): five products
// against the forward's two. Gradients of the factors are summed per chunk of tokens and then over
// the chunks in order; the chunks depend on the shape alone.
#include "einsum_tile.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr int64_t kTilesPerTask = 2;
constexpr int64_t kMaxChunks = 16, kMinChunks = 4;
constexpr int64_t kPartialLimit = int64_t{16}
                                  << 20;  // floats of partial gradients, beyond kMinChunks

struct TileRows {
  const float* in[kLanes];
  float* out[kLanes];
  int count;

  TileRows(int64_t tile, int64_t tokens, const float* x, int64_t dIn, float* y, int64_t dOut)
      : count(static_cast<int>(minOf(kLanes, tokens - tile * kLanes))) {
    for (int lane = 0; lane < count; ++lane) {
      const int64_t token = tile * kLanes + lane;
      in[lane] = x + token * dIn;
      out[lane] = y == nullptr ? nullptr : y + token * dOut;
    }
  }
};

void zeroTail(float* const* rows, int count, int64_t from, int64_t to) {
  if (to <= from) return;
  for (int lane = 0; lane < count; ++lane)
    std::memset(rows[lane] + from, 0, static_cast<size_t>(to - from) * sizeof(float));
}

}  // namespace

void einsum(Context& context, const EinsumArgs& args) {
  if (args.tokens == 0) return;
  const bool mirrored = args.shape.mirrored();
  const EinsumPlan plan(args.shape, mirrored, args.shape.rho);
  PackedFactors packed;
  packed.first = context.scratch(0, plan.firstSize() + kWidth);
  packed.second = context.scratch(1, plan.secondSize() + kWidth);
  const float *f = mirrored ? args.b : args.a, *s = mirrored ? args.a : args.b;
  context.parallel(packTasks(plan),
                   [&](int64_t task, int) { packFactors(plan, f, s, 0, packed, task); });

  const int64_t perWorker = (plan.inner + plan.outer) * kLanes + plan.zFloats();
  float* tiles = context.scratch(2, perWorker * context.workers());
  context.parallel(ceilDiv(args.tokens, kLanes * kTilesPerTask), [&](int64_t task, int worker) {
    float *xt = tiles + worker * perWorker, *yt = xt + plan.inner * kLanes,
          *z = yt + plan.outer * kLanes;
    zeroRows(xt, plan.featuresIn(), plan.inner);
    const int64_t last = minOf((task + 1) * kTilesPerTask, ceilDiv(args.tokens, kLanes));
    for (int64_t tile = task * kTilesPerTask; tile < last; ++tile) {
      const TileRows rows(tile, args.tokens, args.x, plan.dIn, args.y, plan.dOut);
      rowsToTile(rows.in, rows.count, plan.featuresIn(), xt);
      for (int64_t q = 0; q < plan.groups; ++q) {
        stageOne(plan, packed.first, q, xt, rows.count, z);
        stageTwo(plan, packed.second, q, z, rows.count, yt);
      }
      if (args.bias != nullptr)
        for (int64_t i = 0; i < plan.featuresOut(); ++i)
          for (int lane = 0; lane < kLanes; lane += kWidth)
            store(yt + i * kLanes + lane, load(yt + i * kLanes + lane) + args.bias[i]);
      tileToRows(yt, kLanes, plan.featuresOut(), rows.out, rows.count, nullptr);
      zeroTail(rows.out, rows.count, plan.featuresOut(), plan.dOut);
    }
  });
}

void einsumBackward(Context& context, const EinsumBackwardArgs& args) {
  const bool mirrored = args.shape.mirrored();
  const EinsumPlan plan(args.shape, mirrored, args.shape.rho);
  const float *f = mirrored ? args.b : args.a, *s = mirrored ? args.a : args.b;
  float *df = mirrored ? args.db : args.da, *ds = mirrored ? args.da : args.db;
  PackedFactors packed;
  if (ds != nullptr) packed.first = context.scratch(0, plan.firstSize() + kWidth);
  packed.secondBack = context.scratch(1, plan.secondSize() + kWidth);
  if (args.dx != nullptr) packed.firstBack = context.scratch(2, plan.firstSize() + kWidth);
  if (args.tokens > 0)
    context.parallel(packTasks(plan),
                     [&](int64_t task, int) { packFactors(plan, f, s, 0, packed, task); });

  const int64_t partial = plan.firstGradient() + plan.secondGradient() + roundUp(plan.outer);
  const int64_t tileCount = ceilDiv(args.tokens, kLanes);
  const int64_t chunks =
      minOf(tileCount, minOf(kMaxChunks, maxOf(kMinChunks, kPartialLimit / maxOf(1, partial))));
  const int64_t perChunk = chunks == 0 ? 0 : ceilDiv(tileCount, chunks);
  float* partials = context.scratch(3, partial * chunks);
  const int64_t perWorker =
      (2 * plan.inner + plan.outer) * kLanes + 2 * plan.zFloats() + gradientScratch(plan);
  float* tiles = context.scratch(4, perWorker * context.workers());

  context.parallel(chunks, [&](int64_t chunk, int worker) {
    float* pf = partials + chunk * partial;
    float *ps = pf + plan.firstGradient(), *pb = ps + plan.secondGradient();
    std::memset(pf, 0, static_cast<size_t>(partial) * sizeof(float));
    float *xt = tiles + worker * perWorker, *dxt = xt + plan.inner * kLanes,
          *dyt = dxt + plan.inner * kLanes;
    float *z = dyt + plan.outer * kLanes, *dz = z + plan.zFloats(), *scratch = dz + plan.zFloats();
    zeroRows(xt, plan.featuresIn(), plan.inner);
    zeroRows(dyt, plan.featuresOut(), plan.outer);
    for (int64_t tile = chunk * perChunk; tile < minOf((chunk + 1) * perChunk, tileCount); ++tile) {
      const TileRows rows(tile, args.tokens, args.x, plan.dIn, args.dx, plan.dIn);
      const TileRows grads(tile, args.tokens, args.dy, plan.dOut, nullptr, 0);
      rowsToTile(rows.in, rows.count, plan.featuresIn(), xt);
      rowsToTile(grads.in, grads.count, plan.featuresOut(), dyt);
      for (int64_t q = 0; q < plan.groups; ++q) {
        if (ds != nullptr) {
          stageOne(plan, packed.first, q, xt, rows.count, z);
          secondGradient(plan, q, dyt, z, rows.count, scratch, ps);
        }
        if (df == nullptr && args.dx == nullptr) continue;
        stageTwoBack(plan, packed.secondBack, q, dyt, rows.count, dz);
        if (df != nullptr) firstGradient(plan, q, xt, dz, rows.count, scratch, pf);
        if (args.dx != nullptr) stageOneBack(plan, packed.firstBack, q, dz, rows.count, dxt);
      }
      if (args.dx != nullptr) {
        tileToRows(dxt, kLanes, plan.featuresIn(), rows.out, rows.count, nullptr);
        zeroTail(rows.out, rows.count, plan.featuresIn(), plan.dIn);
      }
      if (args.dbias != nullptr)
        for (int lane = 0; lane < grads.count; ++lane)
          for (int64_t i = 0; i < plan.featuresOut(); ++i) pb[i] += grads.in[lane][i];
    }
  });

  context.parallel(packTasks(plan), [&](int64_t task, int) {
    reduceGradients(plan, partials, chunks, partial, 0, df, ds, task);
  });
  if (args.dbias != nullptr) {
    const float* bias = partials + plan.firstGradient() + plan.secondGradient();
    for (int64_t i = 0; i < plan.outer; ++i) {
      float total = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) total += bias[chunk * partial + i];
      args.dbias[i] = total;
    }
  }
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
