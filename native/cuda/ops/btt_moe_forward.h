// The fused forward pass of BTT-MoE: a block computes `tokens` tokens' outputs of a few q.
//
// It goes through the p in chunks and, for each chunk, through the experts that any of its tokens
// chose: stage one makes z of the chunk, weighted with each token's weight for the expert (zero for
// the others), stage two adds z times the second factor to sums in registers. Sixteen tokens of
// which none chose the expert are left out. Rows are gathered and written by the tile's order of
// tokens, each output by one lane: nothing is added in memory.
//
// A chunk's first factor loads while stage two of the step before runs, its second factor while its
// stage one runs.
#pragma once

#include <gpu/async_copy.h>
#include <gpu/launch.h>

#include "../einsum_math.h"
#include "btt_moe_tile.h"

namespace einlinear {
namespace cuda {
namespace btt {

// Copies `rows` x `width` contiguous elements to rows `row` elements apart, by the whole block.
template <class Element>
__device__ __forceinline__ void copyMatrix(Element* to, int row, const Element* from, int rows,
                                           int width) {
  constexpr int kEach = 16 / sizeof(Element);
  const int parts = width / kEach;
  for (int i = threadIdx.x; i < rows * parts; i += blockDim.x)
    copyAsync16(to + i / parts * row + i % parts * kEach, from + i * kEach, true);
}

// Adds to acc[i] the product of 16 rows of x and 16 columns of the factor for p = first + i.
// rows: to p = first, of tokens `rowX` apart, `size` a p; factor: to p = first, `matrix` a p
template <class Math>
__device__ __forceinline__ void stageOne(float (&acc)[kPair][2][4],
                                         const typename Math::Element* rows, int rowX, int size,
                                         const typename Math::Element* factor, int rowF, int matrix,
                                         int lane) {
#pragma unroll
  for (int i = 0; i < kPair * 8; ++i) acc[i / 8][i / 4 % 2][i % 4] = 0;
#pragma unroll 1
  for (int c = 0; c < size; c += Math::kDepth) {
#pragma unroll
    for (int i = 0; i < kPair; ++i) {
      typename Math::A a;
      typename Math::B b;
      Math::load(a, rows + i * size + c, rowX, lane);
      Math::load(b, factor + i * matrix + c, rowF, lane);
      Math::multiply(acc[i], a, b);
    }
  }
}

// rows: [tokens, p padded, size]; first, second: packed in blocks of ps x qs (btt_moe_operands.h);
// order: [tokens]; bias: [q, s] or null; y: [tokens, out.width]
template <class Math>
static __global__ void __launch_bounds__(32 * kMostWarps<Math>, 1)
    forwardKernel(ForwardTile t, Choices choices, Side out, const int32_t* order, int64_t rowStride,
                  const typename Math::Element* rows, const typename Math::Element* first,
                  const typename Math::Element* second, const float* bias, float* y) {
  using Element = typename Math::Element;
  EINLINEAR_DYNAMIC_SHARED(shared);
  Element* xs = reinterpret_cast<Element*>(shared);             // [tokens, rowX]: [ps, size] a row
  Element* fs = reinterpret_cast<Element*>(shared + t.fAt);     // [ps, qs, rowF]
  Element* ss = reinterpret_cast<Element*>(shared + t.sAt);     // [qs, outSize, rowS]
  Element* zs = reinterpret_cast<Element*>(shared + t.zAt);     // [qs, tokens, rowZ]
  float* gates = reinterpret_cast<float*>(shared + t.gatesAt);  // [tokens] weights for an expert
  // [experts] a byte for each 16 tokens: whether one of them chose the expert
  uint32_t* uses = reinterpret_cast<uint32_t*>(shared + t.usesAt);
  int* token = reinterpret_cast<int*>(shared + t.choicesAt);         // [tokens], -1 beyond the last
  int* index = token + t.tokens;                                     // [tokens, k], -1 for none
  float* weight = reinterpret_cast<float*>(index + t.tokens * t.k);  // [tokens, k]

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, pair = lane % 4 * 2;
  const int64_t firstToken = static_cast<int64_t>(blockIdx.x) / t.qGroups * t.tokens;
  const int group = blockIdx.x % t.qGroups;

  for (int e = threadIdx.x; e < t.experts; e += blockDim.x) uses[e] = 0;
  for (int m = threadIdx.x; m < t.tokens; m += blockDim.x)
    token[m] = firstToken + m < choices.tokens ? order[firstToken + m] : -1;
  __syncthreads();
  for (int i = threadIdx.x; i < t.tokens * t.k; i += blockDim.x) {
    const int m = i / t.k;
    const int64_t at = static_cast<int64_t>(token[m]) * t.k + i % t.k;
    const int expert = token[m] >= 0 ? choices.index[at] : -1;
    const bool valid = expert >= 0 && expert < t.experts;
    index[i] = valid ? expert : -1;
    weight[i] = valid ? choices.weight[at] : 0.0f;
    if (valid) reinterpret_cast<unsigned char*>(uses + expert)[m / 16] = 1;
  }
  __syncthreads();

  const auto used = [&](int e) {  // the first used expert from e on
    while (e < t.experts && uses[e] == 0) ++e;
    return e;
  };
  const auto loadX = [&](int chunk) {
    constexpr int kEach = 16 / sizeof(Element);
    const int parts = t.ps * t.size / kEach;
    for (int i = threadIdx.x; i < t.tokens * parts; i += blockDim.x) {
      const int m = i / parts, part = i % parts;
      const int64_t from = token[m] * rowStride + static_cast<int64_t>(chunk) * t.ps * t.size;
      copyAsync16(xs + m * t.rowX + part * kEach, rows + (token[m] >= 0 ? from : 0) + part * kEach,
                  token[m] >= 0);
    }
  };
  const auto block = [&](int chunk, int e) {
    return (static_cast<int64_t>(e) * t.qGroups + group) * t.chunks + chunk;
  };

  float acc[kUnits][kRowTiles][2][4] = {};
  const int firstTile = warp % t.rowGroups * kRowTiles, firstUnit = warp / t.rowGroups * kUnits;
  const int tiles = t.tokens / 16;
  const int expert0 = used(0);
  int chunk = expert0 < t.experts ? 0 : t.chunks, e = expert0;
  if (chunk < t.chunks) {
    loadX(chunk);
    copyMatrix(fs, t.rowF, first + block(chunk, e) * (t.ps * t.qs * t.size), t.ps * t.qs, t.size);
  }
  commitCopies();
  while (chunk < t.chunks) {
    copyMatrix(ss, t.rowS, second + block(chunk, e) * (t.qs * t.outSize * t.ps), t.qs * t.outSize,
               t.ps);
    commitCopies();
    for (int m = threadIdx.x; m < t.tokens; m += blockDim.x) {
      float gate = 0;
      for (int j = 0; j < t.k; ++j)
        if (index[m * t.k + j] == e) gate = weight[m * t.k + j];
      gates[m] = gate;
    }
    const unsigned char* mine = reinterpret_cast<const unsigned char*>(uses + e);
    waitForCopies<1>();
    __syncthreads();

    for (int task = warp; task < tiles * (t.ps / kPair); task += t.warps) {
      const int tile = task % tiles, p = task / tiles * kPair;
      if (mine[tile] == 0) continue;
      float z[kPair][2][4];
      stageOne<Math>(z, xs + tile * 16 * t.rowX + p * t.size, t.rowX, t.size,
                     fs + p * t.qs * t.rowF, t.rowF, t.qs * t.rowF, lane);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int q = i / 4 * 8 + pair + i % 2, m = tile * 16 + i / 2 % 2 * 8 + g;
        if (q < t.qs)
          Math::putPair(zs + (q * t.tokens + m) * t.rowZ + p, gates[m] * z[0][i / 4][i % 4],
                        gates[m] * z[1][i / 4][i % 4]);
      }
    }
    waitForCopies<0>();
    __syncthreads();

    const int now = e;
    e = used(e + 1);
    if (e == t.experts) {
      e = expert0;
      if (++chunk < t.chunks) loadX(chunk);
    }
    if (chunk < t.chunks)
      copyMatrix(fs, t.rowF, first + block(chunk, e) * (t.ps * t.qs * t.size), t.ps * t.qs, t.size);
    commitCopies();

    bool counts[kRowTiles];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r)
      counts[r] = firstTile + r < tiles &&
                  reinterpret_cast<const unsigned char*>(uses + now)[firstTile + r] != 0;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int q = (firstUnit + u) / t.outTiles, column = (firstUnit + u) % t.outTiles * 16;
      if (q >= t.qs) break;
      for (int p = 0; p < t.ps; p += Math::kDepth) {
        typename Math::B b;
        Math::load(b, ss + (q * t.outSize + column) * t.rowS + p, t.rowS, lane);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          if (!counts[r]) continue;
          typename Math::A a;
          Math::load(a, zs + (q * t.tokens + (firstTile + r) * 16) * t.rowZ + p, t.rowZ, lane);
          Math::multiply(acc[u][r], a, b);
        }
      }
    }
    __syncthreads();
  }
  waitForCopies<0>();

#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int q = (firstUnit + u) / t.outTiles, column = (firstUnit + u) % t.outTiles * 16;
    if (q >= t.qs || group * t.qs + q >= t.q) break;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = i / 2, m = (firstTile + r) * 16 + i % 2 * 8 + g;
      if (m >= t.tokens || token[m] < 0) continue;
      float* to = y + token[m] * out.width;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int s = column + j / 2 * 8 + pair + j % 2;
        const int64_t feature = (static_cast<int64_t>(group) * t.qs + q) * out.size + s;
        if (s < out.size && feature < out.width)
          to[feature] = acc[u][r][j / 2][i % 2 * 2 + j % 2] + (bias != nullptr ? bias[feature] : 0);
      }
    }
  }
  if (group < t.qGroups - 1) return;
  const int64_t features = out.groups * out.size;
  for (int m = warp; m < t.tokens; m += t.warps)
    if (token[m] >= 0)
      for (int64_t i = features + lane; i < out.width; i += 32) y[token[m] * out.width + i] = 0;
}

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
