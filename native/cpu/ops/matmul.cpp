// matmul: packed, cache-blocked dense product.
//
// Both operands are packed once (O(mk + kn) moves): op(a) into panels of up to kMaxRows rows,
// op(b) into panels of two vectors. Tiles of c then run in parallel; within a tile the depth is cut
// into slices whose b panel stays in L1 and whose a panels stay in L2. The order of additions
// depends on the shape alone.
#include "gemm.h"
#include "microkernel.h"
#include "ops.h"
#include "transpose.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr int64_t kDepth = 256;              // slice of k
constexpr int64_t kPanelWidth = 2 * kWidth;  // columns of a packed b panel
constexpr int64_t kTileRows = 8 * kMaxRows;
constexpr int64_t kTileColumns = 8 * kPanelWidth;
constexpr int64_t kPackedLimit = int64_t{16} << 20;  // floats packed at a time over a batch

// b panel: columns [j, j + width) of op(b) as [k, kPanelWidth], zero-padded.
void packColumns(const float* b, int64_t ks, int64_t ns, int64_t width, int64_t depth, float* v) {
  if (ns == 1) {
    for (int64_t k = 0; k < depth; ++k) {
      const float* row = b + k * ks;
      float* out = v + k * kPanelWidth;
      if (width == kPanelWidth) {
        store(out, load(row));
        store(out + kWidth, load(row + kWidth));
      } else {
        for (int64_t j = 0; j < kPanelWidth; ++j) out[j] = j < width ? row[j] : 0.0f;
      }
    }
    return;
  }
  for (int64_t k = 0; k < depth; k += kWidth) {
    const int deep = static_cast<int>(minOf(kWidth, depth - k));
    for (int64_t j = 0; j < kPanelWidth; j += kWidth) {
      Vec x[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        if (j + i >= width)
          x[i] = Vec{};
        else
          x[i] = deep == kWidth ? load(b + (j + i) * ns + k) : loadPart(b + (j + i) * ns + k, deep);
      }
      transposeBlock(x);
      for (int i = 0; i < deep; ++i) store(v + (k + i) * kPanelWidth + j, x[i]);
    }
  }
}

// A few rows or columns, both operands contiguous along k: dot products straight from memory, in
// blocks of R x C, nothing packed (packing would cost as much as the product).
template <int R, int C>
void dots(const Gemm& g, const float* a, const float* b, const float* bias, float* c) {
  Vec acc[R][C] = {};
  const int64_t whole = g.k / kWidth * kWidth;
  for (int64_t k = 0; k < g.k; k += kWidth) {
    const int tail = static_cast<int>(g.k - k);
    Vec x[R], y[C];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i)
      x[i] = k < whole ? load(a + i * g.k + k) : loadPart(a + i * g.k + k, tail);
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j)
      y[j] = k < whole ? load(b + j * g.k + k) : loadPart(b + j * g.k + k, tail);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < C; ++j) acc[i][j] += x[i] * y[j];
  }
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < C; ++j)
      c[i * g.n + j] = (g.accumulate ? c[i * g.n + j] : 0.0f) + sum(acc[i][j]) +
                       (bias != nullptr ? bias[j] : 0.0f);
}

constexpr int64_t kFew = 16;       // rows or columns that are few
constexpr int64_t kDotsBlock = 4;  // rows and columns of a block of dot products
constexpr int64_t kDotsPerTask = 16;

void fewDots(Context& context, const Gemm& g) {
  const int64_t across = ceilDiv(g.n, kDotsBlock), down = ceilDiv(g.m, kDotsBlock);
  context.blocks(g.batch * down * across, kDotsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      const int64_t entry = at / (down * across);
      const int64_t row = at / across % down * kDotsBlock, column = at % across * kDotsBlock;
      const int64_t rows = minOf(kDotsBlock, g.m - row), columns = minOf(kDotsBlock, g.n - column);
      const float* a = g.a + entry * g.as + row * g.k;
      const float* b = g.b + entry * g.bs + column * g.k;
      const float* bias = g.bias == nullptr ? nullptr : g.bias + column;
      float* c = g.c + entry * g.cs + row * g.n + column;
      if (rows == kDotsBlock && columns == kDotsBlock) {
        dots<kDotsBlock, kDotsBlock>(g, a, b, bias, c);
      } else if (columns == kDotsBlock) {
        for (int64_t i = 0; i < rows; ++i)
          dots<1, kDotsBlock>(g, a + i * g.k, b, bias, c + i * g.n);
      } else {
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < columns; ++j)
            dots<1, 1>(g, a + i * g.k, b + j * g.k, bias == nullptr ? nullptr : bias + j,
                       c + i * g.n + j);
      }
    }
  });
}

// A few rows, k along the rows of both operands: the register blocks read them where they lie.
void fewRows(Context& context, const Gemm& g) {
  const Panels panels(g.m);
  const int64_t across = ceilDiv(g.n, kPanelWidth);
  context.parallel(g.batch * across, [&](int64_t task, int) {
    const int64_t entry = task / across, column = task % across * kPanelWidth;
    const int64_t columns = minOf(kPanelWidth, g.n - column);
    float* c = g.c + entry * g.cs + column;
    product(panels, {g.a + entry * g.as, g.m}, g.k, g.b + entry * g.bs + column, g.n, columns, c,
            g.n, g.accumulate);
    if (g.bias == nullptr) return;
    for (int64_t i = 0; i < g.m; ++i)
      for (int64_t j = 0; j < columns; ++j) c[i * g.n + j] += g.bias[column + j];
  });
}

void tile(const Gemm& g, const Panels& panels, const float* w, const float* v, float* c,
          int64_t firstPanel, int64_t lastPanel, int64_t firstColumn, int64_t lastColumn) {
  alignas(64) float edge[kMaxRows * kPanelWidth];
  for (int64_t k = 0; k == 0 || k < g.k; k += kDepth) {
    const int64_t depth = minOf(kDepth, g.k - k);
    const bool add = g.accumulate || k > 0;
    for (int64_t j = firstColumn; j < lastColumn; j += kPanelWidth) {
      const float* vp = v + j * g.k + k * kPanelWidth;
      const int64_t width = minOf(kPanelWidth, g.n - j);
      for (int64_t p = firstPanel; p < lastPanel; ++p) {
        const int64_t first = panels.first(p), size = panels.size(p);
        const float* wp = w + first * g.k + k * size;
        float* cp = c + first * g.n + j;
        if (width == kPanelWidth) {
          kBlocks[size - 1][1](depth, wp, size, vp, kPanelWidth, cp, g.n, add);
          continue;
        }
        kBlocks[size - 1][1](depth, wp, size, vp, kPanelWidth, edge, kPanelWidth, false);
        for (int64_t i = 0; i < size; ++i)
          for (int64_t x = 0; x < width; ++x)
            cp[i * g.n + x] = (add ? cp[i * g.n + x] : 0.0f) + edge[i * kPanelWidth + x];
      }
    }
  }
  if (g.bias == nullptr) return;
  const int64_t lastRow = lastPanel == panels.count ? g.m : panels.first(lastPanel);
  for (int64_t i = panels.first(firstPanel); i < lastRow; ++i)
    for (int64_t j = firstColumn; j < minOf(lastColumn, g.n); ++j) c[i * g.n + j] += g.bias[j];
}

}  // namespace

void packPanel(const float* a, int64_t rs, int64_t ks, int64_t size, int64_t depth, float* w) {
  if (ks != 1 || size < 4) {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t i = 0; i < size; ++i) w[k * size + i] = a[i * rs + k * ks];
    return;
  }
  // Whole vectors are stored in ascending k: what spills past a row is overwritten by the rows
  // after it; where it would leave the panel, a part is stored.
  for (int64_t k = 0; k < depth; k += kWidth) {
    const int deep = static_cast<int>(minOf(kWidth, depth - k));
    for (int64_t from = 0; from < size; from += kWidth) {
      const int rows = static_cast<int>(minOf(kWidth, size - from));
      Vec x[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        if (i >= rows)
          x[i] = Vec{};
        else
          x[i] = deep == kWidth ? load(a + (from + i) * rs + k)
                                : loadPart(a + (from + i) * rs + k, deep);
      }
      transposeBlock(x);
      for (int i = 0; i < deep; ++i) {
        float* out = w + (k + i) * size + from;
        if (rows == kWidth || (from == 0 && (k + i) * size + kWidth <= depth * size))
          store(out, x[i]);
        else
          storePart(out, x[i], rows);
      }
    }
  }
}

void gemm(Context& context, const Gemm& g) {
  if (g.batch == 0 || g.m == 0 || g.n == 0) return;
  if (!g.transA && g.transB && minOf(g.m, g.n) <= kFew) return fewDots(context, g);
  if (g.transA && !g.transB && g.m <= kFew && g.n % kWidth == 0) return fewRows(context, g);
  const Panels panels(g.m);
  const int64_t columns = ceilDiv(g.n, kPanelWidth);
  const int64_t packedA = g.m * g.k, packedB = columns * kPanelWidth * g.k;
  const int64_t together = maxOf(1, minOf(g.batch, kPackedLimit / maxOf(1, packedA + packedB)));
  float* w = context.scratch(0, together * packedA + kWidth);
  float* v = context.scratch(1, together * packedB);
  const int64_t panelsPerTile = kTileRows / kMaxRows, columnsPerTile = kTileColumns / kPanelWidth;
  const int64_t tileRows = ceilDiv(panels.count, panelsPerTile),
                tileColumns = ceilDiv(columns, columnsPerTile);
  for (int64_t entry = 0; entry < g.batch; entry += together) {
    const int64_t count = minOf(together, g.batch - entry);
    context.parallel(count * (panels.count + columns), [&](int64_t task, int) {
      const int64_t e = task / (panels.count + columns), at = task % (panels.count + columns);
      if (at < panels.count) {
        const int64_t first = panels.first(at);
        const float* a = g.a + (entry + e) * g.as;
        packPanel(g.transA ? a + first : a + first * g.k, g.transA ? 1 : g.k, g.transA ? g.m : 1,
                  panels.size(at), g.k, w + e * packedA + first * g.k);
      } else {
        const int64_t j = (at - panels.count) * kPanelWidth;
        const float* b = g.b + (entry + e) * g.bs;
        packColumns(g.transB ? b + j * g.k : b + j, g.transB ? 1 : g.n, g.transB ? g.k : 1,
                    minOf(kPanelWidth, g.n - j), g.k, v + e * packedB + j * g.k);
      }
    });
    context.parallel(count * tileRows * tileColumns, [&](int64_t task, int) {
      const int64_t e = task / (tileRows * tileColumns), at = task % (tileRows * tileColumns);
      const int64_t row = at % tileRows * panelsPerTile, column = at / tileRows * columnsPerTile;
      tile(g, panels, w + e * packedA, v + e * packedB, g.c + (entry + e) * g.cs, row,
           minOf(row + panelsPerTile, panels.count), column * kPanelWidth,
           minOf(column + columnsPerTile, columns) * kPanelWidth);
    });
  }
}

void matmul(Context& context, const MatmulArgs& args) {
  gemm(context,
       Gemm{args.batch, args.m, args.n, args.k, args.a, args.aStride, args.transA, args.b,
            args.bStride, args.transB, args.bias, args.c, args.m * args.n, args.accumulate});
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
