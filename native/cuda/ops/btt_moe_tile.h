// What a block of the fused BTT-MoE kernels owns, and where it lies in shared memory.
//
// In both kernels a block takes tokens in tiles of 16 and runs two stages on tensor cores (or in
// exact float32): z of a few p and q into shared memory, then the sums that z enters, kUnits units
// of kRowTiles x 16 rows and 16 columns a warp, in registers.
#pragma once

#include "../check.h"
#include "../einsum_math.h"
#include "../grid.h"
#include "btt_moe_shape.h"

namespace einlinear {
namespace cuda {
namespace btt {

constexpr int kRowTiles = 2, kUnits = 4;
constexpr int kMaxPerGroup = 16;  // p or q of a block: columns of one product
constexpr int kPair = 2;          // p whose z a lane stores together
constexpr int kGroupPadding = 16;

// Warps of the largest block; exact products hold their operands in more registers than tensor
// cores do.
template <class Math>
constexpr int kMostWarps = 16;
template <>
constexpr int kMostWarps<Float32> = 8;

__host__ __device__ inline int paddedSize(int64_t size) {
  return static_cast<int>((size + 15) / 16 * 16);
}

// Rows of a matrix in shared memory begin 16 bytes off a multiple of 32, so that eight of them meet
// no bank twice.
inline int rowOf(int elements, int elementBytes) { return elements + 16 / elementBytes; }

// A block of the forward pass: `tokens` tokens, qs of the q, all p in chunks of ps.
struct ForwardTile {
  int warps, rowGroups, tokens;  // a warp's rows are those of one of rowGroups
  int p, ps, chunks, q, qs, qGroups;
  int size, outSize, outTiles;  // padded; outTiles = outSize / 16
  int experts, k;
  int rowX, rowF, rowS, rowZ;                             // elements
  int fAt, sAt, zAt, gatesAt, usesAt, choicesAt, shared;  // bytes; x is at 0
};

// A block of a factor gradient: one expert's share of tokens, ps of the p and qs of the q.
struct GradientTile {
  int warps;
  int p, ps, pGroups, q, qs, qGroups;
  int inSize, outSize;         // padded
  int rowX, rowY, rowA, rowB;  // elements
  int rowZ, rowD;
  int yAt, aAt, bAt, zAt, dAt, tokensAt, shared;  // bytes; x is at 0
};

constexpr int kGradientTokens = 16;  // a step's

// Bytes of shared memory a block may have on the current device.
inline int sharedLimit() {
  int device = 0, bytes = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "cudaDeviceGetAttribute");
  return bytes;
}

// Whether no size is zero or too large for the plans' int arithmetic.
inline bool tileable(const Operator& op, int64_t k) {
  const auto within = [](int64_t size, int64_t most) { return size > 0 && size <= most; };
  return within(op.experts, 4096) && within(k, 64) && within(op.in.groups, 1 << 20) &&
         within(op.out.groups, 1 << 20) && within(op.in.size, 1024) && within(op.out.size, 1024);
}

// Two blocks on a multiprocessor hide what one alone waits for.
inline double lonely(int warps, int shared, int limit) {
  return warps <= 8 && shared > limit / 2 - 1024 ? 1.5 : 1.0;
}

// The forward tile that moves the fewest bytes a token from L2; false if none fits.
template <class Math>
bool planForward(const Operator& op, int64_t k, int limit, ForwardTile* best) {
  constexpr int elementBytes = sizeof(typename Math::Element);
  double least = 0;
  if (!tileable(op, k)) return false;
  for (int warps = 8; warps <= kMostWarps<Math>; warps *= 2) {
    for (int tokens = 16; tokens <= 64; tokens *= 2) {
      ForwardTile t = {};
      t.warps = warps, t.tokens = tokens;
      t.rowGroups = tokens <= 16 * kRowTiles ? 1 : tokens / (16 * kRowTiles);
      t.size = paddedSize(op.in.size), t.outSize = paddedSize(op.out.size);
      t.outTiles = t.outSize / 16;
      t.experts = static_cast<int>(op.experts), t.k = static_cast<int>(k);
      t.p = static_cast<int>(op.in.groups), t.q = static_cast<int>(op.out.groups);
      t.ps = 32 / elementBytes;
      t.chunks = static_cast<int>(ceilDiv(t.p, t.ps));
      t.qs = warps / t.rowGroups * kUnits / t.outTiles;
      if (t.qs == 0) continue;
      if (t.qs > kMaxPerGroup) t.qs = kMaxPerGroup;
      t.qGroups = static_cast<int>(ceilDiv(t.q, t.qs));
      t.qs = static_cast<int>(ceilDiv(t.q, t.qGroups));
      t.rowX = rowOf(t.ps * t.size, elementBytes), t.rowF = rowOf(t.size, elementBytes);
      t.rowS = t.rowZ = rowOf(t.ps, elementBytes);
      t.fAt = tokens * t.rowX * elementBytes;
      // Sixteen columns are read of the last p as of any other.
      t.sAt = t.fAt + ((t.ps - 1) * t.qs + kMaxPerGroup) * t.rowF * elementBytes;
      t.zAt = t.sAt + t.qs * t.outSize * t.rowS * elementBytes;
      t.gatesAt = t.zAt + t.qs * tokens * t.rowZ * elementBytes;
      t.usesAt = t.gatesAt + tokens * 4;
      t.choicesAt = t.usesAt + t.experts * 4;
      t.shared = t.choicesAt + tokens * (1 + 2 * t.k) * 4;
      if (t.shared > limit) continue;
      const double factors = static_cast<double>(t.k) * t.p * t.q * (t.size + t.outSize);
      const double cost = (static_cast<double>(t.qGroups) * t.p * t.size + factors / tokens) *
                          lonely(warps, t.shared, limit);
      if (least != 0 && cost >= least) continue;
      least = cost, *best = t;
    }
  }
  return least != 0;
}

// The gradient tile that moves the fewest bytes a token from L2; false if none fits.
template <class Math>
bool planGradient(const Operator& op, int64_t k, int limit, GradientTile* best) {
  constexpr int elementBytes = sizeof(typename Math::Element);
  double least = 0;
  if (!tileable(op, k)) return false;
  for (int choice = 0; choice < kMostWarps<Math> / 2; ++choice) {
    GradientTile t = {};
    t.warps = choice / 4 == 0 ? 8 : 16;
    t.p = static_cast<int>(op.in.groups), t.q = static_cast<int>(op.out.groups);
    t.ps = choice % 2 == 0 ? 16 : 8, t.qs = choice / 2 % 2 == 0 ? 16 : 8;
    t.pGroups = static_cast<int>(ceilDiv(t.p, t.ps));
    t.qGroups = static_cast<int>(ceilDiv(t.q, t.qs));
    t.inSize = paddedSize(op.in.size), t.outSize = paddedSize(op.out.size);
    if (t.ps * t.inSize > 16 * kUnits * t.warps || t.qs * t.outSize > 16 * kUnits * t.warps)
      continue;
    const auto bytes = [&](int rows, int row) { return rows * row * elementBytes; };
    t.rowX = rowOf(t.ps * t.inSize, elementBytes), t.rowY = rowOf(t.qs * t.outSize, elementBytes);
    t.rowA = rowOf(t.inSize, elementBytes), t.rowB = rowOf(t.outSize, elementBytes);
    t.rowZ = rowOf(t.ps, elementBytes), t.rowD = rowOf(t.qs, elementBytes);
    t.yAt = bytes(kGradientTokens, t.rowX);
    t.aAt = t.yAt + bytes(kGradientTokens, t.rowY);
    t.bAt = t.aAt + bytes((t.ps - 1) * t.qs + kMaxPerGroup, t.rowA);
    t.zAt = t.bAt + bytes((t.qs - 1) * t.ps + kMaxPerGroup, t.rowB);
    t.dAt = t.zAt + bytes(t.qs * kGradientTokens + 1, t.rowZ);
    t.tokensAt = t.dAt + bytes(t.ps * kGradientTokens + 1, t.rowD);
    t.shared = t.tokensAt + (2 + t.warps) * kGradientTokens * 4;
    if (t.shared > limit) continue;
    const double cost = (static_cast<double>(t.qGroups) * t.p * t.inSize +
                         static_cast<double>(t.pGroups) * t.q * t.outSize + 1) *
                        lonely(t.warps, t.shared, limit);
    if (least != 0 && cost >= least) continue;
    least = cost, *best = t;
  }
  return least != 0;
}

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
