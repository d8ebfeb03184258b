// fill and stridedCopy: memory written, or moved between strided views.
//
// A copy is reordered so that the destination is written along its smallest strides. Where that is
// contiguous on both sides it moves runs; where the source is contiguous along another axis it
// transposes tiles that stay in cache; else it moves single elements. Bytes: 8 an element (12 with
// `accumulate`), 4 for fill.
#include <string.h>

#include "ops.h"
#include "strided_loop.h"
#include "transpose.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

// A tile writes a few long stretches of the destination from one cache line of each source row.
constexpr int64_t kTileRows = 128, kTileCols = 16;

typedef StridedLoop<2> CopyLoop;  // operand 0 is the source, 1 the destination

CopyLoop copyLoop(const StridedCopyArgs& args) {
  // Axes by descending destination stride (insertion sort: there are at most kMaxRank).
  int order[kMaxRank];
  for (int axis = 0; axis < args.shape.rank; ++axis) {
    int place = axis;
    for (; place > 0 && args.dstStrides.at[order[place - 1]] < args.dstStrides.at[axis]; --place)
      order[place] = order[place - 1];
    order[place] = axis;
  }
  CopyLoop loop;
  for (int i = 0; i < args.shape.rank; ++i) {
    const int axis = order[i];
    loop.add(args.shape.at[axis], {args.srcStrides.at[axis], args.dstStrides.at[axis]});
  }
  return loop;
}

void copyRun(const float* src, int64_t srcStride, float* dst, int64_t dstStride, int64_t n,
             bool accumulate) {
  if (srcStride == 1 && dstStride == 1) {
    if (accumulate)
      vectors(0, n, [&](int64_t i, auto part) {
        part.put(dst + i, part.get(dst + i) + part.get(src + i));
      });
    else
      memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
  } else if (accumulate) {
    for (int64_t i = 0; i < n; ++i) dst[i * dstStride] += src[i * srcStride];
  } else {
    for (int64_t i = 0; i < n; ++i) dst[i * dstStride] = src[i * srcStride];
  }
}

// dst[j * dstStride + i] = src[i * srcStride + j] (or +=) for i < rows, j < cols.
void transposeTile(const float* src, int64_t srcStride, float* dst, int64_t dstStride, int64_t rows,
                   int64_t cols, bool accumulate) {
  for (int64_t i = 0; i < rows; i += kWidth) {
    for (int64_t j = 0; j < cols; j += kWidth) {
      const float* from = src + i * srcStride + j;
      float* to = dst + j * dstStride + i;
      if (i + kWidth > rows || j + kWidth > cols) {
        for (int64_t c = 0; c < minOf(kWidth, cols - j); ++c)
          copyRun(from + c, srcStride, to + c * dstStride, 1, minOf(kWidth, rows - i), accumulate);
        continue;
      }
      Vec v[kWidth];
      for (int r = 0; r < kWidth; ++r) v[r] = load(from + r * srcStride);
      transposeBlock(v);
      for (int c = 0; c < kWidth; ++c) {
        float* out = to + c * dstStride;
        store(out, accumulate ? load(out) + v[c] : v[c]);
      }
    }
  }
}

// The last axis is contiguous in the destination, axis `across` in the source.
void transposeTiles(Context& context, const CopyLoop& loop, int across, const float* src,
                    float* dst, bool accumulate) {
  const int last = loop.rank - 1;
  const int64_t rows = loop.size[last], cols = loop.size[across];
  const int64_t rowTiles = ceilDiv(rows, kTileRows), colTiles = ceilDiv(cols, kTileCols);
  CopyLoop outer;
  int64_t count = 1;
  for (int axis = 0; axis < last; ++axis) {
    if (axis == across) continue;
    outer.size[outer.rank] = loop.size[axis];
    for (int k = 0; k < 2; ++k) outer.stride[k][outer.rank] = loop.stride[k][axis];
    ++outer.rank;
    count *= loop.size[axis];
  }
  const int64_t together = rowsPerTask(minOf(rows, kTileRows) * minOf(cols, kTileCols));
  context.blocks(count * rowTiles * colTiles, together, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t i = tile % rowTiles * kTileRows, j = tile / rowTiles % colTiles * kTileCols;
      int64_t at[2];
      outer.locate(tile / rowTiles / colTiles, outer.rank, at);
      const int64_t srcStride = loop.stride[0][last], dstStride = loop.stride[1][across];
      transposeTile(src + at[0] + i * srcStride + j, srcStride, dst + at[1] + j * dstStride + i,
                    dstStride, minOf(kTileRows, rows - i), minOf(kTileCols, cols - j), accumulate);
    }
  });
}

}  // namespace

void fill(Context& context, const FillArgs& args) {
  const Vec value = splat(args.value);
  parallelVectors(context, args.count, [&](int64_t i, auto part) { part.put(args.y + i, value); });
}

void stridedCopy(Context& context, const StridedCopyArgs& args) {
  for (int axis = 0; axis < args.shape.rank; ++axis)
    if (args.shape.at[axis] == 0) return;
  const CopyLoop loop = copyLoop(args);
  const float* src = args.src + args.srcOffset;
  float* dst = args.dst + args.dstOffset;
  const int last = loop.rank - 1;
  if (loop.rank > 1 && loop.stride[1][last] == 1 && loop.stride[0][last] > 1) {
    for (int axis = 0; axis < last; ++axis)
      if (loop.stride[0][axis] == 1)
        return transposeTiles(context, loop, axis, src, dst, args.accumulate);
  }
  loop.run(context, [&](const int64_t(&at)[2], int64_t n) {
    copyRun(src + at[0], last < 0 ? 1 : loop.stride[0][last], dst + at[1],
            last < 0 ? 1 : loop.stride[1][last], n, args.accumulate);
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
