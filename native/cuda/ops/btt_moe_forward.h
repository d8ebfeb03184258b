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
                                           int width, int bits) {
  constexpr int kEach = 16 / sizeof(Element);
  forParts(rows, width / kEach, bits, [&](int r, int part) {
    copyAsync16(to + r * row + part * kEach, from + r * width + part * kEach, true);
  });
}

// Adds to acc[i] the product of 16 rows of x and 16 columns of the factor for p = first + i.
// rows: to p = first, of tokens `rowX` apart, `size` a p; factor: to p = first, `matrix` a p
template <class Math>
__device__ __forceinline__ void stageOne(float (&acc)[kPair][2][4],
                                         const typename Math::Element* rows, int rowX, int size,
                                         const typename Math::Element* factor, int rowF, int matrix,
                                         int lane) {
#pragma unroll
  for (int i = 0; i < kPair; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) acc[i][j / 4][j % 4] = 0;
#pragma unroll 2
    for (int c = 0; c < size; c += Math::kDepth) {
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
  Element* xs = reinterpret_cast<Element*>(shared);          // [tokens, rowX]: [ps, size] a row
  Element* fs = reinterpret_cast<Element*>(shared + t.fAt);  // [ps, qs, rowF]
  Element* ss = reinterpret_cast<Element*>(shared + t.sAt);  // [qs, outSize, rowS]
  Element* zs = reinterpret_cast<Element*>(shared + t.zAt);  // [qs, tokens, rowZ]
  // [experts] a byte for each 16 tokens: whether one of them chose the expert
  uint32_t* uses = reinterpret_cast<uint32_t*>(shared + t.usesAt);
  int* chosen = reinterpret_cast<int*>(uses + t.experts);     // those in use, their number first
  int* token = reinterpret_cast<int*>(shared + t.choicesAt);  // [tokens], -1 beyond the last
  int* choice = token + t.tokens;  // [tokens] which choice is the expert at hand, or -1
  int* index = choice + t.tokens;  // [tokens, k], -1 for none
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

  if (warp == 0) {
    int count = 0;
    for (int e = lane; e - lane < t.experts; e += 32) {
      const bool used = e < t.experts && uses[e] != 0;
      const unsigned all = __ballot_sync(~0u, used);
      if (used) chosen[1 + count + __popc(all & ((1u << lane) - 1))] = e;
      count += __popc(all);
    }
    if (lane == 0) chosen[0] = count;
  }
  __syncthreads();

  const auto loadX = [&](int chunk) {
    constexpr int kEach = 16 / sizeof(Element);
    forParts(t.tokens, t.ps * t.size / kEach, t.xBits, [&](int m, int part) {
      const int64_t from = (token[m] >= 0 ? token[m] : 0) * rowStride + chunk * t.ps * t.size;
      copyAsync16(xs + m * t.rowX + part * kEach, rows + from + part * kEach, token[m] >= 0);
    });
  };
  const auto loadFirst = [&](int chunk, int e) {
    const int64_t block = (static_cast<int64_t>(e) * t.qGroups + group) * t.chunks + chunk;
    copyMatrix(fs, t.rowF, first + block * (t.ps * t.qs * t.size), t.ps * t.qs, t.size, t.fBits);
  };
  const auto loadSecond = [&](int chunk, int e) {
    const int64_t block = (static_cast<int64_t>(e) * t.qGroups + group) * t.chunks + chunk;
    copyMatrix(ss, t.rowS, second + block * (t.qs * t.outSize * t.ps), t.qs * t.outSize, t.ps, 1);
  };

  float acc[kUnits][kRowTiles][2][4] = {};
  const int firstTile = warp % t.rowGroups * kRowTiles;
  const int firstUnit = warp / t.rowGroups * kUnits;
  const int firstQ = firstUnit / t.outTiles, firstColumn = firstUnit % t.outTiles;
  const int count = chosen[0], steps = count * t.chunks;
  ++chosen;
  if (steps > 0) {
    loadX(0);
    loadFirst(0, chosen[0]);
  }
  commitCopies();
  int chunk = 0, at = 0;  // a step is a chunk and a place in `chosen`
  for (int step = 0; step < steps; ++step) {
    const int e = chosen[at];
    loadSecond(chunk, e);
    commitCopies();
    for (int m = threadIdx.x; m < t.tokens; m += blockDim.x) {
      choice[m] = -1;
      for (int j = m * t.k; j < (m + 1) * t.k; ++j)
        if (index[j] == e) choice[m] = j;
    }
    const unsigned char* used = reinterpret_cast<const unsigned char*>(uses + e);
    waitForCopies<1>();
    __syncthreads();

    for (int task = warp; task < t.ps / kPair << t.tileBits; task += t.warps) {
      const int tile = task & ((1 << t.tileBits) - 1), p = (task >> t.tileBits) * kPair;
      if (used[tile] == 0) continue;
      float z[kPair][2][4];
      stageOne<Math>(z, xs + tile * 16 * t.rowX + p * t.size, t.rowX, t.size,
                     fs + p * t.qs * t.rowF, t.rowF, t.qs * t.rowF, lane);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int m = tile * 16 + half * 8 + g, j = choice[m];
        const float gate = j >= 0 ? weight[j] : 0.0f;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int q = i / 2 * 8 + pair + i % 2;
          const float z0 = z[0][i / 2][2 * half + i % 2], z1 = z[1][i / 2][2 * half + i % 2];
          if (q < t.qs)
            Math::putPair(zs + (q * t.tokens + m) * t.rowZ + p, j >= 0 ? gate * z0 : 0.0f,
                          j >= 0 ? gate * z1 : 0.0f);
        }
      }
    }
    waitForCopies<0>();
    __syncthreads();

    if (++at == count) {
      at = 0;
      if (++chunk < t.chunks) loadX(chunk);
    }
    if (chunk < t.chunks) loadFirst(chunk, chosen[at]);
    commitCopies();

    bool counts[kRowTiles];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r)
      counts[r] = firstTile + r < 1 << t.tileBits && used[firstTile + r] != 0;
#pragma unroll 1
    for (int p = 0; p < t.ps; p += Math::kDepth) {
      typename Math::A a[kRowTiles] = {};
      int q = firstQ, column = firstColumn;
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        if (q >= t.qs) break;
        if (u == 0 || column == 0) {
#pragma unroll
          for (int r = 0; r < kRowTiles; ++r)
            if (counts[r])
              Math::load(a[r], zs + (q * t.tokens + (firstTile + r) * 16) * t.rowZ + p, t.rowZ,
                         lane);
        }
        typename Math::B b;
        Math::load(b, ss + (q * t.outSize + column * 16) * t.rowS + p, t.rowS, lane);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r)
          if (counts[r]) Math::multiply(acc[u][r], a[r], b);
        if (++column == t.outTiles) column = 0, ++q;
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
