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
constexpr int kColumns = 16;  // of one product, so the most p or q of a block
constexpr int kPair = 2;      // p whose z a lane stores together

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
  int warps, rowGroups;  // a warp's rows are those of one of rowGroups
  int tokens, tileBits;  // 16 << tileBits
  int p, ps, chunks, q, qs, qGroups;
  int size, outSize, outTiles;  // padded; outTiles = outSize / 16
  int experts, k;
  int rowX, rowF, rowS, rowZ;                    // elements
  int xBits, fBits;                              // lanes that copy a row
  int fAt, sAt, zAt, usesAt, choicesAt, shared;  // bytes; x is at 0
};

// A block of a factor gradient: one expert's share of tokens, ps of the p and qs of the q.
struct GradientTile {
  int warps;
  int p, ps, pGroups, q, qs, qGroups;
  int inSize, outSize;         // padded
  int strideX, strideY;        // from a token's row to the next, elements
  int rowX, rowY, rowA, rowB;  // elements
  int rowZ, rowD;
  int xBits, yBits, aBits, bBits;                 // lanes that copy a row
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

// Clocks of a multiprocessor, roughly: none of this was measured, and only ratios matter.
constexpr double kBytesPerClock = 40, kMacsPerClock = 400;

// Blocks that a multiprocessor holds at a time.
template <class Math>
int blocksAtATime(int warps, int shared, int limit) {
  return kMostWarps<Math> > 8 && warps <= 8 && shared + 1024 <= limit / 2 ? 2 : 1;
}

// What it takes to move `bytes` from L2 and to multiply `macs` times. Eight warps alone wait for
// what a second block, or eight more warps, would hide.
inline double estimate(double bytes, double macs, int warps, int atATime) {
  return (bytes / kBytesPerClock + macs / kMacsPerClock) * (warps * atATime <= 8 ? 1.5 : 1.0);
}

// The best forward tile for a number of tokens; false if none fits.
template <class Math>
bool planForward(const Operator& op, int64_t tokens, int64_t k, int limit, int multiprocessors,
                 ForwardTile* best) {
  constexpr int kBytes = sizeof(typename Math::Element);
  if (!tileable(op, k)) return false;
  double least = -1;
  for (int choice = 0; choice < 3 * 3 * (kMostWarps<Math> / 8); ++choice) {
    ForwardTile t = {};
    t.warps = 8 << choice / 9;
    t.tileBits = choice % 3;
    t.tokens = 16 << t.tileBits;
    t.rowGroups = t.tokens <= 16 * kRowTiles ? 1 : t.tokens / (16 * kRowTiles);
    t.size = paddedSize(op.in.size), t.outSize = paddedSize(op.out.size);
    t.outTiles = t.outSize / 16;
    t.experts = static_cast<int>(op.experts), t.k = static_cast<int>(k);
    t.p = static_cast<int>(op.in.groups), t.q = static_cast<int>(op.out.groups);
    t.ps = 32 / kBytes;
    t.chunks = static_cast<int>(ceilDiv(t.p, t.ps));
    const int held = t.warps / t.rowGroups * kUnits / t.outTiles, most = 16 >> choice / 3 % 3;
    if (held == 0) continue;
    t.qGroups = static_cast<int>(ceilDiv(t.q, held < most ? held : most));
    t.qs = static_cast<int>(ceilDiv(t.q, t.qGroups));
    t.rowX = rowOf(t.ps * t.size, kBytes), t.rowF = rowOf(t.size, kBytes);
    t.rowS = t.rowZ = rowOf(t.ps, kBytes);
    t.xBits = bitsFor(t.ps * t.size * kBytes / 16), t.fBits = bitsFor(t.size * kBytes / 16);
    t.fAt = t.tokens * t.rowX * kBytes;
    // Sixteen columns are read of the last p as of any other.
    t.sAt = t.fAt + ((t.ps - 1) * t.qs + kColumns) * t.rowF * kBytes;
    t.zAt = t.sAt + t.qs * t.outSize * t.rowS * kBytes;
    t.usesAt = t.zAt + t.qs * t.tokens * t.rowZ * kBytes;
    t.choicesAt = t.usesAt + (2 * t.experts + 1) * 4;
    t.shared = t.choicesAt + t.tokens * (2 + 2 * t.k) * 4;
    if (t.shared > limit) continue;
    // Stage one makes kColumns columns whatever qs is.
    const double depth = static_cast<double>(t.chunks) * t.ps;
    const double factors = t.k * depth * t.qs * (t.size + t.outSize);
    const double macs = t.k * depth * t.tokens * (kColumns * t.size + t.qs * t.outSize);
    const double bytes = (t.tokens * depth * t.size + factors) * kBytes;
    const int atATime = blocksAtATime<Math>(t.warps, t.shared, limit);
    const int64_t blocks = ceilDiv(tokens, t.tokens) * t.qGroups,
                  rounds = ceilDiv(blocks, multiprocessors * atATime);
    const double clocks =
        static_cast<double>(rounds * atATime) * estimate(bytes, macs, t.warps, atATime);
    if (least >= 0 && clocks >= least) continue;
    least = clocks, *best = t;
  }
  return least >= 0;
}

// The best gradient tile; false if none fits.
template <class Math>
bool planGradient(const Operator& op, int64_t k, int limit, GradientTile* best) {
  constexpr int kBytes = sizeof(typename Math::Element);
  if (!tileable(op, k)) return false;
  double least = -1;
  for (int choice = 0; choice < 3 * 3 * (kMostWarps<Math> / 8); ++choice) {
    GradientTile t = {};
    t.warps = 8 << choice / 9;
    t.p = static_cast<int>(op.in.groups), t.q = static_cast<int>(op.out.groups);
    t.ps = kColumns >> choice % 3, t.qs = kColumns >> choice / 3 % 3;
    t.inSize = paddedSize(op.in.size), t.outSize = paddedSize(op.out.size);
    t.strideX = paddedSize(op.in.groups) * t.inSize;
    t.strideY = paddedSize(op.out.groups) * t.outSize;
    // Rows of z are a multiple of 16 bytes, and a warp holds kUnits units of either gradient.
    if (t.ps * kBytes < 16 || t.qs * kBytes < 16) continue;
    if (t.ps * t.inSize > 16 * kUnits * t.warps || t.qs * t.outSize > 16 * kUnits * t.warps)
      continue;
    t.pGroups = static_cast<int>(ceilDiv(t.p, t.ps));
    t.qGroups = static_cast<int>(ceilDiv(t.q, t.qs));
    const auto bytes = [](int rows, int row) { return rows * row * kBytes; };
    t.rowX = rowOf(t.ps * t.inSize, kBytes), t.rowY = rowOf(t.qs * t.outSize, kBytes);
    t.rowA = rowOf(t.inSize, kBytes), t.rowB = rowOf(t.outSize, kBytes);
    t.rowZ = rowOf(t.ps, kBytes), t.rowD = rowOf(t.qs, kBytes);
    t.xBits = bitsFor(t.ps * t.inSize * kBytes / 16);
    t.yBits = bitsFor(t.qs * t.outSize * kBytes / 16);
    t.aBits = bitsFor(t.inSize * kBytes / 16), t.bBits = bitsFor(t.outSize * kBytes / 16);
    t.yAt = bytes(kGradientTokens, t.rowX);
    t.aAt = t.yAt + bytes(kGradientTokens, t.rowY);
    // Sixteen columns are read of the last row, or the last p, as of any other.
    t.bAt = t.aAt + bytes((t.ps - 1) * t.qs + kColumns, t.rowA);
    t.zAt = t.bAt + bytes((t.qs - 1) * t.ps + kColumns, t.rowB);
    t.dAt = t.zAt + bytes(t.qs * kGradientTokens + 1, t.rowZ);
    t.tokensAt = t.dAt + bytes(t.ps * kGradientTokens + 1, t.rowD);
    t.shared = t.tokensAt + (3 + t.warps) * kGradientTokens * 4;
    if (t.shared > limit) continue;
    // The work of all blocks together; they are many.
    const double rows = t.ps * t.inSize + t.qs * t.outSize;
    const double macs = 2.0 * kColumns * kColumns * (t.inSize + t.outSize);
    const double blocks = static_cast<double>(t.pGroups) * t.qGroups;
    const double clocks = estimate(blocks * rows * kBytes, blocks * macs, t.warps,
                                   blocksAtATime<Math>(t.warps, t.shared, limit));
    if (least >= 0 && clocks >= least) continue;
    least = clocks, *best = t;
  }
  return least >= 0;
}

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
