// The fused factor gradients of BTT-MoE: a block owns one expert's two factors for a few p and q,
// and goes through its share of the expert's tokens, 16 a step:
//
//   z[m, p, q] = x A, dz[m, q, p] = dy B, into shared memory, and <z, dz> a token for the weights;
//   dB += dy z, dA += x dz, both weighted, in registers.
//
// z is recomputed, never stored. Sums of different shares of tokens are added afterwards, in order.
#pragma once

#include "btt_moe_forward.h"

namespace einlinear {
namespace cuda {
namespace btt {

__device__ __forceinline__ float2 pairAt(const float* from) {
  return make_float2(from[0], from[1]);
}
__device__ __forceinline__ float2 pairAt(const __nv_bfloat16* from) {
  return make_float2(__bfloat162float(from[0]), __bfloat162float(from[1]));
}

// acc[u] += 16 rows of the transpose of v times 16 columns of z, for units u of the warp from
// `unit` on; unit = matrix * tiles + row tile.
// v: [16 tokens, rowV]: [matrices, size] a row; z: [matrices, 16 tokens, rowZ]
template <class Math>
__device__ __forceinline__ void stageTwo(float (&acc)[kUnits][2][4], int unit, int matrices,
                                         const typename Math::Element* v, int rowV, int size,
                                         const typename Math::Element* z, int rowZ, int lane) {
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int matrix = (unit + u) / (size / 16), row = (unit + u) % (size / 16) * 16;
    if (matrix >= matrices) break;
#pragma unroll 1
    for (int m = 0; m < kGradientTokens; m += Math::kDepth) {
      typename Math::A a;
      typename Math::B b;
      Math::loadTransposed(a, v + m * rowV + matrix * size + row, rowV, lane);
      Math::loadTransposed(b, z + (matrix * kGradientTokens + m) * rowZ, rowZ, lane);
      Math::multiply(acc[u], a, b);
    }
  }
}

// Writes what stageTwo summed: element (matrix, row, column) to base + matrix * byMatrix + row *
// byRow + column * byColumn, for matrices, rows and columns below the limits.
__device__ __forceinline__ void putUnits(const float (&acc)[kUnits][2][4], int unit, int tiles,
                                         int64_t matrices, int64_t rows, int64_t columns,
                                         float* base, int64_t byMatrix, int64_t byRow,
                                         int64_t byColumn, int lane) {
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int matrix = (unit + u) / tiles;
    if (matrix >= matrices) break;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = (unit + u) % tiles * 16 + i / 2 % 2 * 8 + lane / 4;
      const int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (row < rows && column < columns)
        base[matrix * byMatrix + row * byRow + column * byColumn] = acc[u][i / 4][i % 4];
    }
  }
}

// One block for each (split, expert, p group, q group), the last fastest.
// order, offsets: the pairs by expert (sort.h); x, dy: [tokens, groups padded, size padded];
// a: packed in blocks of ps x qs, b: packed for the mirror image, in blocks of qs x ps
// (btt_moe_operands.h); da, db: [splits, factor] or null; dweight: [tokens * k, p groups * q
// groups] or null
template <class Math>
static __global__ void __launch_bounds__(32 * kMostWarps<Math>, 1)
    gradientKernel(GradientTile t, Operator op, Choices choices, int splits, const int32_t* order,
                   const int32_t* offsets, const typename Math::Element* x,
                   const typename Math::Element* dy, const typename Math::Element* a,
                   const typename Math::Element* b, float* da, float* db, float* dweight) {
  using Element = typename Math::Element;
  EINLINEAR_DYNAMIC_SHARED(shared);
  Element* xs = reinterpret_cast<Element*>(shared);          // [16 tokens, rowX]: [ps, inSize]
  Element* ys = reinterpret_cast<Element*>(shared + t.yAt);  // [16 tokens, rowY]: [qs, outSize]
  Element* as = reinterpret_cast<Element*>(shared + t.aAt);  // [ps, qs, rowA]
  Element* bs = reinterpret_cast<Element*>(shared + t.bAt);  // [qs, ps, rowB]
  Element* zs = reinterpret_cast<Element*>(shared + t.zAt);  // [qs, 16 tokens, rowZ]: z, [ps]
  Element* ds = reinterpret_cast<Element*>(shared + t.dAt);  // [ps, 16 tokens, rowD]: dz, [qs]
  int* pairs = reinterpret_cast<int*>(shared + t.tokensAt);  // [16], -1 beyond the last
  float* gates = reinterpret_cast<float*>(pairs + kGradientTokens);  // [16]
  float* products = gates + kGradientTokens;                         // [warps, 16]: <z, dz>

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, twice = lane % 4 * 2;
  const int groups = t.pGroups * t.qGroups;
  const int group = blockIdx.x % groups, pGroup = group / t.qGroups, qGroup = group % t.qGroups;
  const int expert = blockIdx.x / groups % op.experts;
  const int64_t split = blockIdx.x / groups / op.experts;
  const int count = offsets[expert + 1] - offsets[expert];
  const int share =
      (count + splits * kGradientTokens - 1) / (splits * kGradientTokens) * kGradientTokens;
  const int64_t begin = offsets[expert] + split * share;
  const int64_t end = begin + share < offsets[expert + 1] ? begin + share : offsets[expert + 1];

  const auto nextPairs = [&](int64_t from) {
    if (threadIdx.x >= kGradientTokens) return;
    const int64_t at = from + threadIdx.x;
    pairs[threadIdx.x] = at < end ? order[at] : -1;
    gates[threadIdx.x] = at < end ? choices.weight[order[at]] : 0.0f;
  };
  const auto loadRows = [&](Element* to, int row, const Element* from, int64_t stride, int width) {
    constexpr int kEach = 16 / sizeof(Element);
    const int parts = width / kEach;
    for (int i = threadIdx.x; i < kGradientTokens * parts; i += blockDim.x) {
      const int m = i / parts, part = i % parts;
      const int64_t token = pairs[m] >= 0 ? pairs[m] / choices.k : 0;
      copyAsync16(to + m * row + part * kEach, from + token * stride + part * kEach, pairs[m] >= 0);
    }
  };

  float sumA[kUnits][2][4] = {}, sumB[kUnits][2][4] = {};
  const int unit = warp * kUnits;
  if (begin < end) {
    const int sizeA = t.ps * t.qs * t.inSize, sizeB = t.ps * t.qs * t.outSize;
    const int64_t blocks = static_cast<int64_t>(expert) * groups;
    copyMatrix(as, t.rowA, a + (blocks + qGroup * t.pGroups + pGroup) * sizeA, t.ps * t.qs,
               t.inSize);
    copyMatrix(bs, t.rowB, b + (blocks + pGroup * t.qGroups + qGroup) * sizeB, t.ps * t.qs,
               t.outSize);
    nextPairs(begin);
    __syncthreads();
  }
  const int64_t strideX = static_cast<int64_t>(paddedSize(op.in.groups)) * t.inSize;
  const int64_t strideY = static_cast<int64_t>(paddedSize(op.out.groups)) * t.outSize;
  for (int64_t from = begin; from < end; from += kGradientTokens) {
    loadRows(xs, t.rowX, x + static_cast<int64_t>(pGroup) * t.ps * t.inSize, strideX,
             t.ps * t.inSize);
    loadRows(ys, t.rowY, dy + static_cast<int64_t>(qGroup) * t.qs * t.outSize, strideY,
             t.qs * t.outSize);
    commitCopies();
    waitForCopies<0>();
    __syncthreads();

    for (int p = warp * kPair; p < t.ps; p += t.warps * kPair) {
      float z[kPair][2][4];
      stageOne<Math>(z, xs + p * t.inSize, t.rowX, t.inSize, as + p * t.qs * t.rowA, t.rowA,
                     t.qs * t.rowA, lane);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int q = i / 4 * 8 + twice + i % 2, m = i / 2 % 2 * 8 + g;
        if (q < t.qs)
          Math::putPair(zs + (q * kGradientTokens + m) * t.rowZ + p, z[0][i / 4][i % 4],
                        z[1][i / 4][i % 4]);
      }
    }
    __syncthreads();

    float product[2] = {};  // of tokens g and g + 8
    for (int q = warp * kPair; q < t.qs; q += t.warps * kPair) {
      float dz[kPair][2][4];
      stageOne<Math>(dz, ys + q * t.outSize, t.rowY, t.outSize, bs + q * t.ps * t.rowB, t.rowB,
                     t.ps * t.rowB, lane);
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // two neighbouring p
        const int p = i / 2 * 8 + twice, half = i % 2, m = half * 8 + g;
        if (p >= t.ps) continue;
        const float gate = gates[m];
#pragma unroll
        for (int j = 0; j < kPair; ++j) {
          Element* at = zs + ((q + j) * kGradientTokens + m) * t.rowZ + p;
          const float2 z = pairAt(at);
          product[half] += z.x * dz[j][i / 2][2 * half] + z.y * dz[j][i / 2][2 * half + 1];
          Math::putPair(at, gate * z.x, gate * z.y);
        }
#pragma unroll
        for (int j = 0; j < 2; ++j)
          Math::putPair(ds + ((p + j) * kGradientTokens + m) * t.rowD + q,
                        gate * dz[0][i / 2][2 * half + j], gate * dz[1][i / 2][2 * half + j]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      product[half] += __shfl_xor_sync(~0u, product[half], 1);
      product[half] += __shfl_xor_sync(~0u, product[half], 2);
      if (lane % 4 == 0) products[warp * kGradientTokens + half * 8 + g] = product[half];
    }
    __syncthreads();

    if (threadIdx.x < kGradientTokens && dweight != nullptr && pairs[threadIdx.x] >= 0) {
      float total = 0;
      for (int w = 0; w < t.warps; ++w) total += products[w * kGradientTokens + threadIdx.x];
      dweight[static_cast<int64_t>(pairs[threadIdx.x]) * groups + group] = total;
    }
    nextPairs(from + kGradientTokens);
    if (db != nullptr) stageTwo<Math>(sumB, unit, t.qs, ys, t.rowY, t.outSize, zs, t.rowZ, lane);
    if (da != nullptr) stageTwo<Math>(sumA, unit, t.ps, xs, t.rowX, t.inSize, ds, t.rowD, lane);
    __syncthreads();
  }

  const int64_t p = static_cast<int64_t>(pGroup) * t.ps, q = static_cast<int64_t>(qGroup) * t.qs;
  const int64_t restP = t.p - p < t.ps ? t.p - p : t.ps, restQ = t.q - q < t.qs ? t.q - q : t.qs;
  if (da != nullptr) {
    const Factor& f = op.first;
    float* to = da + split * op.experts * op.between() * op.in.size + expert * f.expert;
    putUnits(sumA, unit, t.inSize / 16, restP, op.in.size, restQ, to + p * f.p + q * f.q, f.p,
             f.item, f.q, lane);
  }
  if (db != nullptr) {
    const Factor& f = op.second;
    float* to = db + split * op.experts * op.between() * op.out.size + expert * f.expert;
    putUnits(sumB, unit, t.outSize / 16, restQ, op.out.size, restP, to + p * f.p + q * f.q, f.q,
             f.item, f.p, lane);
  }
}

// dweight[pair] = sum of its parts, in order; 0 for a choice that is no expert.
// parts: [pairs, groups]
static __global__ void __launch_bounds__(kThreads)
    sumProductsKernel(Choices choices, int64_t experts, int groups, const float* parts,
                      float* dweight) {
  forEach(choices.tokens * choices.k, [&](int64_t pair) {
    float total = 0;
    if (choices.index[pair] >= 0 && choices.index[pair] < experts)
      for (int i = 0; i < groups; ++i) total += parts[pair * groups + i];
    dweight[pair] = total;
  });
}

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
