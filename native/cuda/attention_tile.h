// How attention is cut: a block owns a tile of rows of one head (queries, or keys) and walks over
// the columns (keys, or queries), a tile at a time. Tiles of the head's rows are kept in shared
// memory as elements of the arithmetic (attention_products.h), zero beyond the ends.
//
// A tile is kDim wide. Of a wider head a block makes one chunk of the output, and sums the scores
// over all chunks.
#pragma once

#include <cuda_runtime.h>
#include <gpu/launch.h>

#include <type_traits>

#include "../core/device.h"
#include "attention_products.h"
#include "context.h"
#include "grid.h"
#include "vectors.h"

namespace einlinear {
namespace cuda {

constexpr int kAttentionThreads = 128, kAttentionWarps = kAttentionThreads / 32;

// A warp has kRowTiles * 16 rows. kResident tiles of rows and two of columns are in shared memory.
template <class Arithmetic, int kDim_, int kRowTiles_, int kResident>
struct Tiling {
  using Math = Arithmetic;
  using Element = typename Math::Element;
  static constexpr int kDim = kDim_, kRowTiles = kRowTiles_;
  // A tile of columns on its way takes kColumns * kDim / 128 registers of every thread.
  static constexpr int kColumns = kDim < 128 ? 32 : 16;
  static constexpr int kWarpRows = 16 * kRowTiles, kRows = kAttentionWarps * kWarpRows;
  static constexpr int kStride = kDim + Math::kPadding;
  static constexpr int kScores = kColumns / 8, kOutputs = kDim / 8;  // fragments
  static constexpr int kWeights = Math::template kWeights<kRowTiles, kScores>;

  // The block's shared memory, in this order.
  struct Shared {
    alignas(16) Element rows[kResident][kRows * kStride];
    alignas(16) Element columns[2][kColumns * kStride];
    alignas(16) float weights[kAttentionWarps][kWeights == 0 ? 4 : kWeights];
    float statistics[2][kColumns];  // of the columns, where they are queries: lse and delta
  };
  static_assert(sizeof(Shared) <= 100 * 1000, "what every device of compute capability 8 has");
};

// What is attended to. time and headDim are ints: what is beyond them no device could compute.
struct AttentionShape {
  int time, heads, headDim, tiles, chunks;
  float scale;
  bool causal;
  bool vectors;  // rows may be read and written 16 bytes at a time
};

// Rows of one head from some row and chunk on, as many as there are; row r is at from + r * stride.
struct HeadRows {
  const float* from;
  int64_t stride;
  int count, width;
};

// Where a block is: row tile, chunk of the output, head.
template <class T>
struct Place {
  const AttentionShape& shape;
  int tile, chunk;
  int64_t head;

  __device__ explicit Place(const AttentionShape& shape_) : shape(shape_) {
    const unsigned tiles = static_cast<unsigned>(shape.tiles), x = blockIdx.x;
    const unsigned chunks = static_cast<unsigned>(shape.chunks);
    tile = static_cast<int>(x % tiles);
    chunk = static_cast<int>(x / tiles % chunks);
    head = x / tiles / chunks;
  }

  __device__ int64_t stride() const { return static_cast<int64_t>(shape.heads) * shape.headDim; }
  // Of element [batch, row, head, chunk's first] of a tensor [batch, time, heads, headDim].
  __device__ int64_t offset(int row, int chunk_) const {
    return (head / shape.heads * shape.time + row) * stride() + head % shape.heads * shape.headDim +
           static_cast<int64_t>(chunk_) * T::kDim;
  }
  __device__ int width(int chunk_) const {
    const int left = shape.headDim - chunk_ * T::kDim;
    return left < T::kDim ? left : T::kDim;
  }
  __device__ HeadRows rows(const float* tensor, int row, int chunk_) const {
    return {tensor + offset(row, chunk_), stride(), shape.time - row, width(chunk_)};
  }
  // The chunk to come as the i-th: the block's own is the last, and so stays in shared memory.
  __device__ int chunkAt(int i) const { return (chunk + 1 + i) % shape.chunks; }
};

// Four numbers of a row from `column` on, zeros beyond its width.
__device__ inline float4 readFour(const float* row, int column, int width, bool vectors) {
  float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (vectors) {
    if (column < width) x = *reinterpret_cast<const float4*>(row + column);
  } else {
    if (column < width) x.x = row[column];
    if (column + 1 < width) x.y = row[column + 1];
    if (column + 2 < width) x.z = row[column + 2];
    if (column + 3 < width) x.w = row[column + 3];
  }
  return x;
}

// A thread's share of kSize rows on their way from global to shared memory: four columns of every
// kStep-th row. fetch() asks for them, put() needs them.
template <class T, int kSize>
struct Incoming {
  static constexpr int kFours = T::kDim / 4, kStep = kAttentionThreads / kFours;
  float4 share[kSize / kStep];

  __device__ void fetch(const HeadRows& rows, bool vectors) {
    const int first = static_cast<int>(threadIdx.x) / kFours;
    const int column = static_cast<int>(threadIdx.x) % kFours * 4;
    const float* row = rows.from + first * rows.stride;
#pragma unroll
    for (int i = 0; i < kSize / kStep; ++i, row += kStep * rows.stride)
      share[i] = readFour(row, column, first + i * kStep < rows.count ? rows.width : 0, vectors);
  }
  // tile[kSize] = the rows times factor
  __device__ void put(float factor, typename T::Element* tile) const {
    tile += static_cast<int>(threadIdx.x) / kFours * T::kStride +
            static_cast<int>(threadIdx.x) % kFours * 4;
#pragma unroll
    for (int i = 0; i < kSize / kStep; ++i)
      T::Math::store(tile + i * kStep * T::kStride,
                     make_float4(share[i].x * factor, share[i].y * factor, share[i].z * factor,
                                 share[i].w * factor));
  }
};

template <int M, int N>
__device__ inline void clear(float (&d)[M][N][4]) {
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) d[m][n][e] = 0.0f;
}

// Two tensors whose product is scores, each with a factor on it and the tile it goes through.
template <class T>
struct Operands {
  const float* rows;
  float rowFactor;
  typename T::Element* rowTile;
  const float* columns;
  float columnFactor;
  typename T::Element* columnTile;
};

template <class T>
using IncomingColumns = Incoming<T, T::kColumns>;

// The tile of rows, kAtOnce column tiles' worth at a time (registers bound it).
template <int kAtOnce, class T>
__device__ inline void loadRows(const Place<T>& place, int first, int chunk,
                                const Operands<T>& operands) {
  constexpr int kPart = (kAtOnce * T::kColumns < T::kRows) ? kAtOnce * T::kColumns : T::kRows;
#pragma unroll 1
  for (int row = 0; row < T::kRows; row += kPart) {
    Incoming<T, kPart> part;
    part.fetch(place.rows(operands.rows, first + row, chunk), place.shape.vectors);
    part.put(operands.rowFactor, operands.rowTile + row * T::kStride);
  }
}

// scores += rows columns^T over the whole head, for the warps that are `active`. The first chunk of
// the columns is incoming, and of `next` (unless null) the tile at row nextColumn, chunk nextChunk
// is so afterwards. The block's own chunk stays in columnTile.
template <class T, class Scores>
__device__ inline void multiplyHeads(const Place<T>& place, int first, int column,
                                     const Operands<T>& operands, bool active,
                                     IncomingColumns<T>& incoming, Scores& scores,
                                     const float* next, int nextColumn, int nextChunk) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int i = 0; i < place.shape.chunks; ++i) {
    if (i > 0) __syncthreads();  // the tiles of the chunk before are done with
    incoming.put(operands.columnFactor, operands.columnTile);
    if (place.shape.chunks > 1) loadRows<1>(place, first, place.chunkAt(i), operands);
    __syncthreads();
    const bool last = i + 1 == place.shape.chunks;
    const float* tensor = last ? next : operands.columns;
    if (tensor != nullptr)
      incoming.fetch(
          place.rows(tensor, last ? nextColumn : column, last ? nextChunk : place.chunkAt(i + 1)),
          place.shape.vectors);
    if (active)
      T::Math::template multiplyRows<T::kDim>(
          scores, operands.rowTile + warp * T::kWarpRows * T::kStride, operands.columnTile);
  }
}

// Which columns are seen by the rows of a tile, and of a warp in it. kOfKeys: rows are keys and
// columns queries; else the other way round.
template <class T, bool kOfKeys>
struct View {
  const AttentionShape& shape;
  int warpFirst, begin, end;  // columns [begin, end) are seen by the tile

  __device__ View(const AttentionShape& shape_, int first)
      : shape(shape_),
        warpFirst(first + static_cast<int>(threadIdx.x) / 32 * T::kWarpRows),
        begin(kOfKeys && shape.causal ? first : 0),
        end(!kOfKeys && shape.causal && first + T::kRows < shape.time ? first + T::kRows
                                                                      : shape.time) {}

  __device__ bool sees(int row, int column) const {
    if (column >= shape.time) return false;
    return !shape.causal || (kOfKeys ? row <= column : column <= row);
  }
  // Whether some row of the warp sees some column of a tile, and whether all see all.
  __device__ bool any(int column) const {
    const int last = (kOfKeys ? column + T::kColumns : warpFirst + T::kWarpRows) - 1;
    return warpFirst < shape.time && (!shape.causal || (kOfKeys ? warpFirst : column) <= last);
  }
  __device__ bool every(int column) const {
    const int last = (kOfKeys ? warpFirst + T::kWarpRows : column + T::kColumns) - 1;
    return column + T::kColumns <= shape.time &&
           (!shape.causal || last <= (kOfKeys ? column : warpFirst));
  }
  // scores[...] = value where the row does not see the column
  __device__ void mask(int column, float value,
                       float (&scores)[T::kRowTiles][T::kScores][4]) const {
    if (every(column)) return;
#pragma unroll
    for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < T::kScores; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (!sees(warpFirst + 16 * m + T::Math::row(T::Math::slot(e)),
                    column + T::Math::column(n, e)))
            scores[m][n][e] = value;
  }
};

// Scores are kept in units of ln 2.
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

// Calls run(Math{}, dim) with the arithmetic for `compute` and the narrowest tile for a head of
// `headDim`, an integral_constant.
template <class Run>
void withArithmetic(Compute compute, int64_t headDim, const Run& run) {
  const auto withDim = [&](auto math) {
    if (headDim <= 32)
      run(math, std::integral_constant<int, 32>{});
    else if (headDim <= 64)
      run(math, std::integral_constant<int, 64>{});
    else
      run(math, std::integral_constant<int, 128>{});
  };
  if (compute == Compute::bfloat16)
    withDim(Bfloat16{});
  else if (compute == Compute::tf32)
    withDim(Tf32{});
  else
    withDim(Float32{});
}

// Queues kernel(shape, arguments...), one block for each tile of rows, chunk, and head.
// `vectors`: whether tensors start where 16 bytes can be read and written at a time.
template <class T, class Args, class... Parameters, class... Arguments>
void launchAttention(Context& context, const Args& args, bool vectors,
                     void (*kernel)(AttentionShape, Parameters...), Arguments... arguments) {
  AttentionShape shape;
  shape.time = static_cast<int>(args.time);
  shape.heads = static_cast<int>(args.heads);
  shape.headDim = static_cast<int>(args.headDim);
  shape.tiles = static_cast<int>(ceilDiv(args.time, T::kRows));
  shape.chunks = static_cast<int>(ceilDiv(args.headDim, T::kDim));
  shape.scale = args.scale;
  shape.causal = args.causal;
  shape.vectors = vectors && args.headDim % 4 == 0;
  const int64_t blocks = args.batch * args.heads * shape.tiles * shape.chunks;
  context.launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kAttentionThreads),
                 sizeof(typename T::Shared), shape, arguments...);
}

}  // namespace cuda
}  // namespace einlinear
