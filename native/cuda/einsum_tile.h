// What a block of the fused einsum kernel owns, chosen by an estimate of the time it takes.
//
// A block holds `rows` x `units` of sums in registers, a unit being 16 columns (of e) of one phi:
// forward the rows are outputs (token, d) and the block loops over groups of gamma; for the
// gradient of S they are (gamma, b, rho) and it loops over groups of tokens. A turn of the loop is
// a chunk: the z of the block's phis for some tokens and gammas, made in steps of a few gammas
// whose x and F come through a ring of buffers, then multiplied by the chunk's S (forward) or dy
// (gradient).
#pragma once

#include <cstdint>

#include "einsum_chain.h"
#include "grid.h"

namespace einlinear {
namespace cuda {

constexpr int kTileWarps = 16, kTileThreads = 32 * kTileWarps;
constexpr int kRowTiles = 2;  // tiles of 16 rows a warp sums
constexpr int kUnits = 4;     // units a warp sums
constexpr int kBuffers = 3;   // steps in flight or in use

// Division by a number known at launch; exact while n * by < 2^31.
struct Divisor {
  int by;
  uint32_t multiplier;

  static Divisor of(int64_t by) {
    return {static_cast<int>(by), static_cast<uint32_t>(ceilDiv(int64_t{1} << 31, by))};
  }
  __device__ __forceinline__ int quotient(int n) const {
    return static_cast<int>(static_cast<uint64_t>(static_cast<uint32_t>(n)) * multiplier >> 31);
  }
};

// Rows of pieces of 16 bytes that a block's threads copy, one piece each, then the piece a block's
// threads further on.
struct CopiedRows {
  Divisor pieces;
  int rowStep, pieceStep;

  static CopiedRows of(int64_t bytes) {
    const int pieces = static_cast<int>(bytes / 16);
    return {Divisor::of(pieces), kTileThreads / pieces, kTileThreads % pieces};
  }
};

struct EinsumTile {
  int g, b, a, p, d, e, r;                // the chain's sizes
  int tokens, phis, gammas, stepGammas;   // of a chunk; of a step
  int steps;                              // of a chunk
  int phiGroups, gammaGroups, rowGroups;  // a warp's rows are one of rowGroups
  int rowsIn, rowsInPadded;               // (token, b) of a chunk; padded to tiles of 16
  int rowsOut, rowsOutPadded;             // (token, d)
  int columns, columnsPadded;             // (phi, d, rho)
  int depth, depthPadded;                 // (gamma, b, rho)
  int width;                              // a, padded
  int eTiles, units;                      // 16 columns of e; times phis
  int rowX, rowF, rowZ, rowS;             // elements from a row to the next in shared memory
  CopiedRows copyX, copyF, copyS;
  Divisor taskColumns, taskRows;  // of a step: tasks of 32 columns, of 16 rows
  int fAt, bufferBytes, zAt, zBytes, sAt, rowsAt, columnsAt, sharedBytes;  // shared memory, bytes

  // Sizes of the packed operands (einsum.cu), in elements.
  int64_t firstSize() const { return times(phiGroups, g, columnsPadded, width); }
  int64_t secondSize() const { return times(phiGroups, gammaGroups, units * 16, depthPadded); }
};

// The estimate, in clocks of a multiprocessor; only ratios matter. None of it was measured.
constexpr double kBytesPerClock = 20;  // from L2
constexpr double kBarrierClocks = 150;
constexpr double kFirstClocks = 40, kSecondClocks = 260;  // a warp's depth step, all warps busy

namespace einsum_tile {

inline int64_t padded(int64_t n) { return ceilDiv(n, 16) * 16; }

// Completes a tile of which the sizes of a chunk are set; whether it fits in shared memory.
inline bool complete(EinsumTile& t, bool gradient, int elementBytes, int64_t sharedLimit) {
  const int64_t rowsIn = times(t.tokens, t.b), rowsOut = times(t.tokens, t.d);
  const int64_t columns = times(t.phis, t.d, t.r), depth = times(t.gammas, t.b, t.r);
  const int64_t width = padded(t.a), units = times(t.phis, ceilDiv(t.e, 16));
  const int64_t pad = 16 / elementBytes;  // rows 16 bytes off a multiple of 32: no bank conflicts
  const int64_t rowX = times(t.stepGammas, width) + pad, rowF = width + pad,
                rowZ = padded(depth) + pad, rowS = gradient ? units * 16 + pad : rowZ;
  const int64_t fAt = times(padded(rowsIn), rowX, elementBytes);
  const int64_t buffer = plus(fAt, times(t.stepGammas, padded(columns), rowF, elementBytes));
  const int64_t z = times(t.phis, padded(rowsOut), rowZ, elementBytes);
  const int64_t s = times(gradient ? padded(rowsOut) : units * 16, rowS, elementBytes);
  const int64_t tables = times(plus(padded(rowsIn), padded(columns)), sizeof(int));
  const int64_t total = plus(plus(plus(times(buffer, kBuffers), z), s), tables);
  if (total > sharedLimit) return false;
  const auto narrow = [](int64_t n) { return static_cast<int>(n); };
  t.rowsIn = narrow(rowsIn), t.rowsInPadded = narrow(padded(rowsIn));
  t.rowsOut = narrow(rowsOut), t.rowsOutPadded = narrow(padded(rowsOut));
  t.columns = narrow(columns), t.columnsPadded = narrow(padded(columns));
  t.depth = narrow(depth), t.depthPadded = narrow(padded(depth));
  t.width = narrow(width);
  t.eTiles = narrow(ceilDiv(t.e, 16)), t.units = narrow(units);
  t.phiGroups = narrow(ceilDiv(t.p, t.phis)), t.gammaGroups = narrow(ceilDiv(t.g, t.gammas));
  t.rowX = narrow(rowX), t.rowF = narrow(rowF), t.rowZ = narrow(rowZ), t.rowS = narrow(rowS);
  t.copyX = CopiedRows::of(t.stepGammas * width * elementBytes);
  t.copyF = CopiedRows::of(width * elementBytes);
  t.copyS = CopiedRows::of((gradient ? units * 16 : padded(depth)) * elementBytes);
  t.taskColumns = Divisor::of(ceilDiv(t.columnsPadded, 32));
  t.taskRows = Divisor::of(t.rowsInPadded / 16);
  t.fAt = narrow(fAt), t.bufferBytes = narrow(buffer);
  t.zAt = kBuffers * t.bufferBytes, t.zBytes = narrow(z), t.sAt = t.zAt + t.zBytes;
  t.rowsAt = t.sAt + narrow(s), t.columnsAt = t.rowsAt + t.rowsInPadded * narrow(sizeof(int));
  t.sharedBytes = narrow(total);
  return true;
}

// Clocks for `tokens` tokens.
inline double estimate(const EinsumTile& t, bool gradient, int elementBytes, int kDepth,
                       int64_t tokens, int multiprocessors) {
  const auto up = [](double n, double by) {
    return static_cast<double>(ceilDiv(static_cast<int64_t>(n), static_cast<int64_t>(by)));
  };
  const double tasks =
      static_cast<double>(t.stepGammas) * (t.rowsInPadded / 16) * up(t.columnsPadded / 16, 2);
  const double first = up(tasks, kTileWarps) * up(t.a, kDepth) * kFirstClocks;
  const double stepBytes = (static_cast<double>(t.rowsInPadded) * t.stepGammas * t.width +
                            static_cast<double>(t.stepGammas) * t.columnsPadded * t.width) *
                           elementBytes;
  const double step =
      (first > stepBytes / kBytesPerClock ? first : stepBytes / kBytesPerClock) + kBarrierClocks;
  const double second = up(gradient ? t.rowsOut : t.depth, kDepth) * kSecondClocks;
  const double secondBytes =
      static_cast<double>(gradient ? t.rowsOutPadded : t.depthPadded) * t.units * 16 * elementBytes;
  const double chunk = t.steps * step + second + secondBytes / kBytesPerClock + kBarrierClocks;
  const double tokenGroups = up(static_cast<double>(tokens), t.tokens);
  if (!gradient) return up(tokenGroups * t.phiGroups, multiprocessors) * t.gammaGroups * chunk;
  // Tokens are split over what multiprocessors there are; each writes its sums.
  const double tiles = static_cast<double>(t.phiGroups) * t.gammaGroups;
  const double splits = tiles >= multiprocessors ? 1 : static_cast<int>(multiprocessors / tiles);
  const double sums = static_cast<double>(t.depthPadded) * t.units * 16 * sizeof(float);
  return up(tiles * splits, multiprocessors) *
         (up(tokenGroups, splits) * chunk + 2 * sums / kBytesPerClock);
}

}  // namespace einsum_tile

// The best tile for a chain and a number of tokens (at least 1), or for the gradient of its S;
// false if none fits in `sharedLimit` bytes of shared memory.
inline bool planEinsum(const EinsumChain& c, bool gradient, int64_t tokens, int elementBytes,
                       int kDepth, int multiprocessors, int64_t sharedLimit, EinsumTile& best) {
  // Keeps the products of kernels within an int.
  constexpr int64_t kMost = int64_t{1} << 24;
  if (times(c.g, c.b, einsum_tile::padded(c.a)) > kMost) return false;
  if (times(c.p, c.d, einsum_tile::padded(c.e)) > kMost || c.r > kMost) return false;
  const auto balanced = [](int64_t count, int64_t most) {
    return most >= count ? count : ceilDiv(count, ceilDiv(count, most));
  };
  const int64_t pairs = c.b * c.r;
  double least = -1;
  // Tries `phis` of a block; whether any tile with them fits.
  const auto tryPhis = [&](int rowGroups, int64_t phis) {
    const int64_t rows = 16 * kRowTiles * rowGroups;
    bool any = false;
    for (int64_t goal = 16; goal <= 128; goal *= 2) {
      const int64_t share = (gradient ? goal : rows) / c.d;
      const int64_t group = share < 1 ? 1 : share < tokens ? share : tokens;
      const int64_t gammas = balanced(c.g, gradient ? rows / pairs : ceilDiv(goal, pairs));
      for (int64_t steps = 1; steps < 2 * gammas; steps *= 2) {
        EinsumTile t = {};
        t.g = static_cast<int>(c.g), t.b = static_cast<int>(c.b), t.a = static_cast<int>(c.a);
        t.p = static_cast<int>(c.p), t.d = static_cast<int>(c.d), t.e = static_cast<int>(c.e);
        t.r = static_cast<int>(c.r);
        t.rowGroups = rowGroups;
        t.tokens = static_cast<int>(group), t.phis = static_cast<int>(phis);
        t.stepGammas = static_cast<int>(ceilDiv(gammas, steps));
        t.steps = static_cast<int>(ceilDiv(gammas, t.stepGammas));
        t.gammas = t.steps * t.stepGammas;
        if (gradient && t.gammas * pairs > rows) continue;
        if (!einsum_tile::complete(t, gradient, elementBytes, sharedLimit)) continue;
        any = true;
        const double clocks =
            einsum_tile::estimate(t, gradient, elementBytes, kDepth, tokens, multiprocessors);
        if (least >= 0 && clocks >= least) continue;
        least = clocks;
        best = t;
      }
    }
    return any;
  };
  for (int rowGroups = 1; rowGroups <= kTileWarps; rowGroups *= 2) {
    if ((gradient ? pairs : c.d) > 16 * kRowTiles * rowGroups) continue;
    int64_t most = kUnits * (kTileWarps / rowGroups) / ceilDiv(c.e, 16);
    while (most > 0 && !tryPhis(rowGroups, balanced(c.p, most))) most /= 2;
  }
  return least >= 0;
}

}  // namespace cuda
}  // namespace einlinear
