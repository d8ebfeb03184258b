// The tiled kernel of gemm.h, for any arithmetic.
//
// A block computes a kM x kN tile of c. It walks along the depth: while the tensor cores (or the
// FMA units) work on one panel of a and b in shared memory, the next is on its way from global
// memory to registers; there it is rounded and stored to the other of two panels. Each element of
// a is read n / kN times, of b m / kM times, mostly from L2: 4 bytes an element.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gemm.h"

namespace einlinear {
namespace cuda {

// An operand as the kernel sees it: element (x, d) of a term, x along m or n and d along the depth.
struct GemmOperand {
  const float* at;
  int64_t x, depth, outer, inner, sum;  // strides
  bool vector;  // whether four elements along the closer of x and depth can be read as one
};

struct GemmPlan {
  GemmOperand a, b;
  int64_t m, n, k;
  // 32-bit, because blocks that do little would otherwise spend their time dividing.
  unsigned inner, entries, rowTiles, columnTiles, splits;
  int sums;
  float* c;
  int64_t cRow, cColumn, cOuter, cInner, cSplit;
  const float* bias;
  int64_t biasRow, biasColumn, biasOuter, biasInner;
  bool accumulate;
  bool pairs;  // whether two elements of c along a row can be stored as one
  Grouping grouping;
  const int32_t* offsets;    // [entries + 1]
  const int32_t* firstTile;  // [entries + 1] first row tile of each group
};

// Moves an operand's tiles of kX x kDepth elements to shared memory, through registers. A line is
// kX or kDepth elements next to each other; a thread takes four of them at a time.
template <int kX, int kDepth, bool kAlongDepth, int kThreads>
struct Loader {
  static constexpr int kAlong = kAlongDepth ? kDepth : kX, kLines = kAlongDepth ? kX : kDepth;
  static constexpr int kPerLine = kAlong / 4, kStep = kThreads / kPerLine;
  static constexpr int kVectors = kLines / kStep;
  static_assert(kThreads % kPerLine == 0 && kLines % kStep == 0, "every thread does the same");

  float held[kVectors][4];

  // Reads the tile whose first element is at `tile`; beyond the first xLeft and depthLeft elements
  // are zeros.
  __device__ __forceinline__ void load(const GemmOperand& operand, const float* tile, int xLeft,
                                       int depthLeft) {
    const int line = threadIdx.x / kPerLine, along = threadIdx.x % kPerLine * 4;
    const int linesLeft = kAlongDepth ? xLeft : depthLeft;
    const int alongLeft = (kAlongDepth ? depthLeft : xLeft) - along;
    const int64_t lineStride = kAlongDepth ? operand.x : operand.depth;
    const int64_t alongStride = kAlongDepth ? operand.depth : operand.x;
    const float* from = tile + line * lineStride + along * alongStride;
    if (operand.vector && alongLeft >= 4) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        float4 four = make_float4(0, 0, 0, 0);
        if (line + v * kStep < linesLeft)
          four = *reinterpret_cast<const float4*>(from + v * kStep * lineStride);
        held[v][0] = four.x;
        held[v][1] = four.y;
        held[v][2] = four.z;
        held[v][3] = four.w;
      }
      return;
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        held[v][j] = line + v * kStep < linesLeft && j < alongLeft
                         ? from[v * kStep * lineStride + j * alongStride]
                         : 0.0f;
  }

  template <class Panel>
  __device__ __forceinline__ void store(Panel& panel) const {
    const int line = threadIdx.x / kPerLine, along = threadIdx.x % kPerLine * 4;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) panel.put(line + v * kStep, along, held[v]);
  }
};

// Math: kThreads, kResident (blocks on a multiprocessor that registers must suffice for), kDepth,
// Panel<kX, kAlongDepth>, multiply(panelA, panelB) onto its own sums, and
// forPairs(visit), which calls visit(row, column, sum, sum of the next column) for this thread's.
template <class Math, bool kADeep, bool kBDeep>
__global__ void __launch_bounds__(Math::kThreads, Math::kResident) gemmKernel(GemmPlan plan) {
  constexpr int kM = Math::kM, kN = Math::kN, kDepth = Math::kDepth;
  __shared__ typename Math::template Panel<kM, kADeep> panelA[2];
  __shared__ typename Math::template Panel<kN, kBDeep> panelB[2];

  // Row tiles are taken eight at a time, so that blocks that run together share operands in L2.
  const unsigned tiles = plan.rowTiles * plan.columnTiles, tile = blockIdx.x % tiles;
  const unsigned split = blockIdx.x / tiles / plan.entries;
  unsigned entry = blockIdx.x / tiles % plan.entries;
  const unsigned band = tile / (8 * plan.columnTiles), within = tile % (8 * plan.columnTiles);
  const unsigned height = plan.rowTiles - 8 * band < 8 ? plan.rowTiles - 8 * band : 8;
  const unsigned rowTile = 8 * band + within % height;
  const int64_t column = static_cast<int64_t>(within / height) * kN;
  int64_t row = static_cast<int64_t>(rowTile) * kM, rowEnd = plan.m, depthFirst = 0,
          depthEnd = plan.k;
  if (plan.grouping == Grouping::rows) {
    __shared__ int group;
    const int mine = static_cast<int>(rowTile);
    if (threadIdx.x == 0) group = -1;
    __syncthreads();
    for (unsigned each = threadIdx.x; each < plan.entries; each += Math::kThreads)
      if (plan.firstTile[each] <= mine && mine < plan.firstTile[each + 1])
        group = static_cast<int>(each);
    __syncthreads();
    if (group < 0) return;
    entry = static_cast<unsigned>(group);
    row = plan.offsets[entry] + static_cast<int64_t>(mine - plan.firstTile[entry]) * kM;
    rowEnd = plan.offsets[entry + 1];
  } else if (plan.grouping == Grouping::depth) {
    depthFirst = plan.offsets[entry];
    depthEnd = plan.offsets[entry + 1];
  }
  const int64_t outer = entry / plan.inner, inner = entry % plan.inner;
  const int rowsLeft = static_cast<int>(rowEnd - row < kM ? rowEnd - row : kM);
  const int columnsLeft = static_cast<int>(plan.n - column < kN ? plan.n - column : kN);

  // Counted in panels. The loads of a thread run a panel ahead of its sums.
  const int64_t depth = depthEnd - depthFirst;
  const int perTerm = static_cast<int>((depth + kDepth - 1) / kDepth);
  const int lastDepth = static_cast<int>(depth - static_cast<int64_t>(perTerm - 1) * kDepth);
  int left = perTerm * plan.sums, term = 0, panel = 0;
  if (plan.splits > 1 && left > 0) {
    const int64_t all = left;
    const int first = static_cast<int>(all * split / plan.splits);
    left = static_cast<int>(all * (split + 1) / plan.splits) - first;
    term = first / perTerm;
    panel = first % perTerm;
  }
  const auto firstPanel = [&](const GemmOperand& o, int64_t x) {
    return o.at + outer * o.outer + inner * o.inner + x * o.x + term * o.sum +
           (depthFirst + static_cast<int64_t>(panel) * kDepth) * o.depth;
  };
  const float* a = firstPanel(plan.a, row);
  const float* b = firstPanel(plan.b, column);

  Loader<kM, kDepth, kADeep, Math::kThreads> loadA;
  Loader<kN, kDepth, kBDeep, Math::kThreads> loadB;
  const auto loadNext = [&] {
    const bool last = panel + 1 == perTerm;
    loadA.load(plan.a, a, rowsLeft, last ? lastDepth : kDepth);
    loadB.load(plan.b, b, columnsLeft, last ? lastDepth : kDepth);
    a += kDepth * plan.a.depth;
    b += kDepth * plan.b.depth;
    ++panel;
    if (!last) return;
    panel = 0;
    a += plan.a.sum - static_cast<int64_t>(perTerm) * kDepth * plan.a.depth;
    b += plan.b.sum - static_cast<int64_t>(perTerm) * kDepth * plan.b.depth;
  };

  Math math;
  int current = 0;
  if (left > 0) {
    loadNext();
    loadA.store(panelA[0]);
    loadB.store(panelB[0]);
    __syncthreads();
  }
  for (; left > 0; --left) {
    const bool more = left > 1;
    if (more) loadNext();
    math.multiply(panelA[current], panelB[current]);
    current ^= 1;
    if (more) {
      loadA.store(panelA[current]);
      loadB.store(panelB[current]);
    }
    __syncthreads();
  }

  float* c = plan.c + split * plan.cSplit + outer * plan.cOuter + inner * plan.cInner +
             row * plan.cRow + column * plan.cColumn;
  const float* bias = plan.bias == nullptr
                          ? nullptr
                          : plan.bias + outer * plan.biasOuter + inner * plan.biasInner +
                                row * plan.biasRow + column * plan.biasColumn;
  const auto biasAt = [&](int i, int j) {
    return bias == nullptr ? 0.0f : bias[i * plan.biasRow + j * plan.biasColumn];
  };
  math.forPairs([&](int i, int j, float x, float y) {
    if (i >= rowsLeft || j >= columnsLeft) return;
    float* at = c + i * plan.cRow + j * plan.cColumn;
    const bool both = j + 1 < columnsLeft;
    x += biasAt(i, j);
    if (both) y += biasAt(i, j + 1);
    if (plan.pairs && both) {
      float2* pair = reinterpret_cast<float2*>(at);
      const float2 before = plan.accumulate ? *pair : make_float2(0, 0);
      *pair = make_float2(before.x + x, before.y + y);
      return;
    }
    at[0] = (plan.accumulate ? at[0] : 0.0f) + x;
    if (both) at[plan.cColumn] = (plan.accumulate ? at[plan.cColumn] : 0.0f) + y;
  });
}

// Tiles of the two sizes, for the four ways operands may lie.
template <template <int, int> class Math>
void launchGemm(Context& context, const GemmPlan& plan, bool large, bool aDeep, bool bDeep) {
  using Large = Math<128, 128>;
  using Small = Math<64, 64>;
  using Kernel = void (*)(GemmPlan);
  static const Kernel kernels[2][2][2] = {
      {{gemmKernel<Small, false, false>, gemmKernel<Small, false, true>},
       {gemmKernel<Small, true, false>, gemmKernel<Small, true, true>}},
      {{gemmKernel<Large, false, false>, gemmKernel<Large, false, true>},
       {gemmKernel<Large, true, false>, gemmKernel<Large, true, true>}}};
  const unsigned entries = plan.grouping == Grouping::rows ? 1 : plan.entries;
  const unsigned blocks = plan.rowTiles * plan.columnTiles * plan.splits * entries;
  context.launch(kernels[large][aDeep][bDeep], dim3(blocks),
                 dim3(large ? Large::kThreads : Small::kThreads), 0, plan);
}

// One arithmetic a file: gemm_float32.cu, gemm_tf32.cu, gemm_bf16.cu.
void launchGemmFloat32(Context& context, const GemmPlan& plan, bool large, bool aDeep, bool bDeep);
void launchGemmTf32(Context& context, const GemmPlan& plan, bool large, bool aDeep, bool bDeep);
void launchGemmBf16(Context& context, const GemmPlan& plan, bool large, bool aDeep, bool bDeep);

}  // namespace cuda
}  // namespace einlinear
