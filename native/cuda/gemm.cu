// gemm: chooses tiles, cuts long depths between blocks, and adds their parts. 2 m n k FLOPs a
// product; a cut writes and reads m n floats a part.
#include "gemm.h"
#include "gemm_kernel.h"
#include "grid.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int64_t kFill = 264;        // blocks that fill a device: two on each multiprocessor
constexpr int64_t kLeastDepth = 256;  // what a block should have of a depth that is cut

// ---- kernels ------------------------------------------------------------------------------------

// c (+)= sum of the parts [splits, entries, m, n], in order, + bias
__global__ void __launch_bounds__(kThreads)
    addPartsKernel(int64_t splits, int64_t entries, Gemm g, const float* parts) {
  const int64_t count = entries * g.m * g.n;
  forEach(count, [&](int64_t i) {
    const int64_t column = i % g.n, row = i / g.n % g.m, entry = i / g.n / g.m;
    const int64_t outer = entry / g.inner, inner = entry % g.inner;
    float total = 0;
    for (int64_t split = 0; split < splits; ++split) total += parts[split * count + i];
    const auto place = [&](const Strides& s) {
      return outer * s.outer + inner * s.inner + row * s.row + column * s.column;
    };
    if (g.bias != nullptr) total += g.bias[place(g.biasStrides)];
    float* c = g.c + place(g.cStrides);
    *c = (g.accumulate ? *c : 0.0f) + total;
  });
}

// first[groups + 1]: number of tiles of `height` rows in the groups before each. One warp.
__global__ void firstTileKernel(int64_t groups, const int32_t* offsets, int height,
                                int32_t* first) {
  const int lane = static_cast<int>(threadIdx.x);
  int32_t before = 0;
  for (int64_t from = 0; from < groups; from += 32) {
    const int64_t each = from + lane;
    int32_t through = each < groups ? (offsets[each + 1] - offsets[each] + height - 1) / height : 0;
    const int32_t own = through;
    for (int by = 1; by < 32; by *= 2) {
      const int32_t other = __shfl_up_sync(~0u, through, by);
      if (lane >= by) through += other;
    }
    if (each < groups) first[each] = before + through - own;
    before += __shfl_sync(~0u, through, 31);
  }
  if (lane == 0) first[groups] = before;
}

// ---- launchers ----------------------------------------------------------------------------------

int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// `deep`: whether the closest elements follow each other along the depth.
GemmOperand operandOf(const Gemm& g, const float* at, const Strides& s, bool rowsAreDepth,
                      bool* deep) {
  GemmOperand o;
  o.at = at;
  o.x = rowsAreDepth ? s.column : s.row;
  o.depth = rowsAreDepth ? s.row : s.column;
  o.outer = g.outer > 1 ? s.outer : 0;
  o.inner = g.inner > 1 ? s.inner : 0;
  o.sum = g.sums > 1 ? s.sum : 0;
  *deep = o.depth == 1 || (o.x != 1 && o.depth < o.x);
  const int64_t along = *deep ? o.depth : o.x, line = *deep ? o.x : o.depth;
  // A group may begin anywhere.
  const bool cut =
      *deep ? g.grouping == Grouping::depth : g.grouping == Grouping::rows && !rowsAreDepth;
  o.vector = along == 1 && (line | o.outer | o.inner | o.sum) % 4 == 0 &&
             reinterpret_cast<uintptr_t>(at) % 16 == 0 && !cut;
  return o;
}

}  // namespace

void gemm(Context& context, const Gemm& g) {
  const int64_t entries = g.outer * g.inner;
  if (entries == 0 || g.m == 0 || g.n == 0) return;
  GemmPlan plan = {};
  bool aDeep = false, bDeep = false;
  plan.a = operandOf(g, g.a, g.aStrides, false, &aDeep);
  plan.b = operandOf(g, g.b, g.bStrides, true, &bDeep);
  plan.m = g.m;
  plan.n = g.n;
  plan.k = g.k;
  plan.grouping = g.grouping;
  plan.offsets = g.offsets;

  // What a group has on average, as far as the host can tell.
  const int64_t rows = g.grouping == Grouping::rows ? ceilDiv(g.m, entries) : g.m;
  const int64_t depths = g.grouping == Grouping::depth ? ceilDiv(g.k, entries) : g.k;
  const int64_t longest =
      g.grouping == Grouping::rows ? 1 : most(1, times(g.sums, depths) / kLeastDepth);
  const auto tilesOf = [&](int64_t size) {
    return ceilDiv(rows, size) * ceilDiv(g.n, size) * entries;
  };
  const bool large = rows > 64 && g.n > 64 && times(tilesOf(128), longest) >= kFill / 2;
  const int64_t size = large ? 128 : 64;
  const int64_t splits = least(longest, ceilDiv(kFill, tilesOf(size)));
  const int64_t rowTiles =
      g.grouping == Grouping::rows ? g.m / size + least(entries, g.m) : ceilDiv(g.m, size);
  const int64_t columnTiles = ceilDiv(g.n, size);
  if (times(rowTiles, columnTiles, splits, entries) > INT32_MAX ||
      times(g.sums, plus(g.k, 64)) > int64_t{INT32_MAX} * 16)
    fail("NOT_SUPPORTED", "Expected a product of fewer than 2^31 tiles");
  plan.rowTiles = static_cast<unsigned>(rowTiles);
  plan.columnTiles = static_cast<unsigned>(columnTiles);
  plan.splits = static_cast<unsigned>(splits);
  plan.entries = static_cast<unsigned>(entries);
  plan.inner = static_cast<unsigned>(g.inner);
  plan.sums = static_cast<int>(g.sums);

  float* parts = nullptr;
  if (splits > 1) {
    parts = context.scratch<float>(kGemmScratch, times(splits, entries, g.m, g.n));
    plan.c = parts;
    plan.cRow = g.n;
    plan.cColumn = 1;
    plan.cInner = g.m * g.n;
    plan.cOuter = g.inner * plan.cInner;
    plan.cSplit = entries * plan.cInner;
  } else {
    plan.c = g.c;
    plan.cRow = g.cStrides.row;
    plan.cColumn = g.cStrides.column;
    plan.cInner = g.inner > 1 ? g.cStrides.inner : 0;
    plan.cOuter = g.outer > 1 ? g.cStrides.outer : 0;
    plan.accumulate = g.accumulate;
    plan.bias = g.bias;
    plan.biasRow = g.biasStrides.row;
    plan.biasColumn = g.biasStrides.column;
    plan.biasInner = g.biasStrides.inner;
    plan.biasOuter = g.biasStrides.outer;
  }
  plan.pairs = plan.cColumn == 1 &&
               (plan.cRow | plan.cInner | plan.cOuter | plan.cSplit) % 2 == 0 &&
               reinterpret_cast<uintptr_t>(plan.c) % 8 == 0;
  if (g.grouping == Grouping::rows) {
    int32_t* firstTile = context.scratch<int32_t>(kGemmScratch, entries + 1);
    context.launch(firstTileKernel, dim3(1), dim3(32), 0, entries, g.offsets, size, firstTile);
    plan.firstTile = firstTile;
  }
  switch (context.compute()) {
    case Compute::float32:
      launchGemmFloat32(context, plan, large, aDeep, bDeep);
      break;
    case Compute::tf32:
      launchGemmTf32(context, plan, large, aDeep, bDeep);
      break;
    case Compute::bfloat16:
      launchGemmBf16(context, plan, large, aDeep, bDeep);
      break;
  }
  if (splits > 1)
    context.launch(addPartsKernel, blocksFor(entries * g.m * g.n), dim3(kThreads), 0, splits,
                   entries, g, parts);
}

}  // namespace cuda
}  // namespace einlinear
