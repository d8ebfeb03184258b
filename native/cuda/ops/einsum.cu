// einsum, einsumBackward: the two-factor layer with both stages in one kernel, so that z, the
// numbers between the stages, never leaves the chip.
//
// Forward moves x and y once (4 bytes a number) and 2 * MACs FLOPs; x is first packed, a slab of
// tokens at a time that stays in the L2 cache: rounded as the products may round it, rows padded to
// 16. The input's gradient is the same kernel on the transposed chain (einsum_chain.h). The
// gradient of a factor makes z again while it streams the tokens, again 2 * MACs; sums over a range
// of tokens go to scratch and are added in order, so a result has the same bits every time.
//
// Layers whose tiles do not fit in shared memory, or that have little between the stages, go to
// einsum_gemm.h. EINLINEAR_CUDA_PATH = fused or gemm forces one of the two.
#include <gpu/async_copy.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "../einsum_chain.h"
#include "../einsum_gemm.h"
#include "../einsum_math.h"
#include "../einsum_tile.h"
#include "../grid.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// What a launch of chainKernel works on. Operands are packed, of the arithmetic's element.
struct ChainJob {
  int tokens;     // of the slab
  const void* x;  // [tokens, b, g, width]
  const void* f;  // [phiGroups, g, columnsPadded, width]
  const void* s;  // forward:  S  [phiGroups, gammaGroups, units * 16, depthPadded]
                  // gradient: dy [tokens, d, p, eTiles * 16]
  // Forward.
  float* y;           // [tokens, dOut]
  const float* bias;  // [p * e * d], indexed as the features of y, or null
  int64_t dOut;
  int featuresOut, yp, ye, yd;  // einsum_tile.h keeps them small
  bool pairs;                   // elements of even e start 8-byte aligned pairs of y
  // Gradient.
  float* sums;      // [splits, p, e, g, b, r]
  bool accumulate;  // onto the sums of the slabs before
  int chunks;       // of tokens, a split
};

// ---- kernels ------------------------------------------------------------------------------------

// out[tokens, b, g, width] from x [tokens, dIn], zeros where a chain's token has no such feature: 8
// numbers a thread. `vectors`: groups of four of a lie together, 16-byte aligned.
template <class Math>
__global__ void packInputKernel(EinsumChain chain, int64_t count, int64_t features, int width,
                                bool vectors, const float* x, typename Math::Element* out) {
  const uint32_t eighth = width / 8, g = static_cast<uint32_t>(chain.g),
                 b = static_cast<uint32_t>(chain.b);
  forEach(count / 8, [&](int64_t i) {
    const uint32_t row = static_cast<uint32_t>(i) / eighth, rest = row / g;
    const int64_t a = static_cast<uint32_t>(i) % eighth * 8;
    const int64_t first = row % g * chain.xg + rest % b * chain.xb + a * chain.xa;
    const float* token = x + rest / b * chain.dIn;
    float values[8] = {};
    if (vectors) {
#pragma unroll
      for (int k = 0; k < 8; k += 4) {
        if (a + k >= chain.a || first + k >= features) continue;
        const float4 four = *reinterpret_cast<const float4*>(token + first + k);
        values[k] = four.x, values[k + 1] = four.y, values[k + 2] = four.z, values[k + 3] = four.w;
      }
    } else {
#pragma unroll
      for (int k = 0; k < 8; ++k)
        if (a + k < chain.a && first + k * chain.xa < features)
          values[k] = token[first + k * chain.xa];
    }
    Math::putEight(out + 8 * i, values);
  });
}

// out[phiGroups, g, columnsPadded, width] from F, zeros in the padding
template <class Math>
__global__ void packFirstKernel(EinsumTile tile, EinsumChain chain, int64_t count, const float* f,
                                typename Math::Element* out) {
  forEach(count, [&](int64_t i) {
    const int a = static_cast<int>(i % tile.width);
    const int64_t row = i / tile.width;
    const int column = static_cast<int>(row % tile.columnsPadded);
    const int64_t group = row / tile.columnsPadded;
    const int64_t g = group % tile.g;
    const int dr = tile.d * tile.r;
    const int64_t p = group / tile.g * tile.phis + column / dr;
    float value = 0;
    if (a < tile.a && column < tile.columns && p < tile.p)
      value = f[p * chain.fp + column % dr / tile.r * chain.fd + column % tile.r * chain.fr +
                g * chain.fg + a * chain.fa];
    Math::put(out + i, value);
  });
}

// out[phiGroups, gammaGroups, units * 16, depthPadded] from S, zeros in the padding
template <class Math>
__global__ void packSecondKernel(EinsumTile tile, EinsumChain chain, int64_t count, const float* s,
                                 typename Math::Element* out) {
  forEach(count, [&](int64_t i) {
    const int k = static_cast<int>(i % tile.depthPadded);
    const int64_t row = i / tile.depthPadded;
    const int column = static_cast<int>(row % (tile.units * 16));
    const int64_t group = row / (tile.units * 16);
    const int br = tile.b * tile.r, wide = tile.eTiles * 16;
    const int64_t g = group % tile.gammaGroups * tile.gammas + k / br;
    const int64_t p = group / tile.gammaGroups * tile.phis + column / wide;
    const int e = column % wide;
    float value = 0;
    if (k < tile.depth && g < tile.g && p < tile.p && e < tile.e)
      value = s[p * chain.sp + e * chain.se + k % tile.r * chain.sr + g * chain.sg +
                k % br / tile.r * chain.sb];
    Math::put(out + i, value);
  });
}

// A block's asynchronous copy of `rows` rows, `toRow` and `fromRow` bytes apart; what lies beyond
// the valid ones becomes 0.
__device__ __forceinline__ void copyRows(const CopiedRows& copied, int rows, void* to, int toRow,
                                         const void* from, int64_t fromRow, int validRows,
                                         int validPieces) {
  const int thread = threadIdx.x;
  int row = copied.pieces.quotient(thread), piece = thread - row * copied.pieces.by;
  while (row < rows) {
    copyAsync16(static_cast<char*>(to) + row * toRow + piece * 16,
                static_cast<const char*>(from) + row * fromRow + piece * 16,
                row < validRows && piece < validPieces);
    row += copied.rowStep, piece += copied.pieceStep;
    if (piece >= copied.pieces.by) piece -= copied.pieces.by, ++row;
  }
}

// z of a step, from x [rowsIn, stepGammas, width] and f [stepGammas, columns, width]. A warp's task
// is 16 rows by 32 columns of one gamma. `rows` and `columns` say where in z they go.
template <class Math>
__device__ __forceinline__ void firstStage(const EinsumTile& tile, const typename Math::Element* x,
                                           const typename Math::Element* f, const int* rows,
                                           const int* columns, typename Math::Element* z) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int columnTasks = tile.taskColumns.by, rowTasks = tile.taskRows.by;
  const int tasks = tile.stepGammas * rowTasks * columnTasks;
  for (int task = warp; task < tasks; task += kTileWarps) {
    const int rest = tile.taskColumns.quotient(task), gamma = tile.taskRows.quotient(rest);
    const int column = (task - rest * columnTasks) * 32, row = (rest - gamma * rowTasks) * 16;
    const bool both = column + 16 < tile.columnsPadded;
    const typename Math::Element* xAt = x + row * tile.rowX + gamma * tile.width;
    const typename Math::Element* fAt = f + (gamma * tile.columnsPadded + column) * tile.rowF;
    float sums[2][2][4] = {};
#pragma unroll 1  // four at a time would take more registers than there are
    for (int k = 0; k < tile.a; k += Math::kDepth) {
      typename Math::A a;
      Math::load(a, xAt + k, tile.rowX, lane);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        if (n == 1 && !both) break;
        typename Math::B b;
        Math::load(b, fAt + n * 16 * tile.rowF + k, tile.rowF, lane);
        Math::multiply(sums[n], a, b);
      }
    }
    typename Math::Element* to = z + gamma * tile.b * tile.r;
    const int upper = rows[row + lane / 4], lower = rows[row + lane / 4 + 8];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (n == 1 && !both) break;
#pragma unroll
      for (int i = 0; i < 8; i += 2) {
        const int at = column + 16 * n + i / 4 * 8 + lane % 4 * 2;
        const int down = i % 4 < 2 ? upper : lower;
        const float first = sums[n][i / 4][i % 4], second = sums[n][i / 4][i % 4 + 1];
        if (down < 0) continue;
        if (tile.r % 2 == 0) {
          if (columns[at] >= 0) Math::putPair(to + columns[at] + down, first, second);
        } else {
          if (columns[at] >= 0) Math::put(to + columns[at] + down, first);
          if (columns[at + 1] >= 0) Math::put(to + columns[at + 1] + down, second);
        }
      }
    }
  }
}

// What a warp sums: kRowTiles x 16 rows of kUnits units.
using Sums = float[kUnits][kRowTiles][2][4];

// Forward: sums[(token, d), unit] += z S; gradient: sums[(gamma, b, rho), unit] += z^T dy.
// z [phis, rowsOutPadded, depthPadded]; s [units * 16, depthPadded], or dy [rowsOutPadded, units *
// 16].
template <class Math, bool kGradient>
__device__ __forceinline__ void secondStage(const EinsumTile& tile, const typename Math::Element* z,
                                            const typename Math::Element* s, int firstTile,
                                            int firstUnit, Sums& sums) {
  const int lane = threadIdx.x % 32;
  const int rowTiles = (kGradient ? tile.depthPadded : tile.rowsOutPadded) / 16;
  if (firstTile >= rowTiles || firstUnit >= tile.units) return;
  const int length = kGradient ? tile.rowsOut : tile.depth;
  // A warp's second tile may be beyond the last: it then repeats the first, in vain.
  const int nextTile = firstTile + 1 < rowTiles ? 16 * (kGradient ? 1 : tile.rowZ) : 0;
  const typename Math::Element* zAt = z + firstTile * 16 * (kGradient ? 1 : tile.rowZ);
  const typename Math::Element* sAt = s + firstUnit * 16 * (kGradient ? 1 : tile.rowS);
  const int plane = tile.rowsOutPadded * tile.rowZ;
  for (int k = 0; k < length; k += Math::kDepth) {
    typename Math::A a[kRowTiles];
    const auto loadRows = [&](int phi) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        if (kGradient)
          Math::loadTransposed(a[m], zAt + phi * plane + m * nextTile + k * tile.rowZ, tile.rowZ,
                               lane);
        else
          Math::load(a[m], zAt + phi * plane + m * nextTile + k, tile.rowZ, lane);
      }
    };
    int held = firstUnit / tile.eTiles;
    loadRows(held);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (firstUnit + u >= tile.units) break;
      const int phi = (firstUnit + u) / tile.eTiles;
      if (phi != held) loadRows(held = phi);
      typename Math::B b;
      if (kGradient)
        Math::loadTransposed(b, sAt + u * 16 + k * tile.rowS, tile.rowS, lane);
      else
        Math::load(b, sAt + u * 16 * tile.rowS + k, tile.rowS, lane);
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) Math::multiply(sums[u][m], a[m], b);
    }
  }
}

// Writes y of a block's tokens and phis.
__device__ __forceinline__ void writeOutputs(const EinsumTile& tile, const ChainJob& job,
                                             int firstToken, int firstPhi, int firstTile,
                                             int firstUnit, const Sums& sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const int row = firstTile * 16 + lane / 4 + 8 * i;
    const int token = firstToken + row / tile.d;
    if (row >= tile.rowsOut || token >= job.tokens) continue;
    float* out = job.y + token * job.dOut;
    const int across = row % tile.d * job.yd;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int unit = firstUnit + u, phi = firstPhi + unit / tile.eTiles;
      if (unit >= tile.units || phi >= tile.p) continue;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int e = unit % tile.eTiles * 16 + 8 * h + lane % 4 * 2;
        const int feature = phi * job.yp + e * job.ye + across;
        float values[2];
        bool there[2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int at = feature + j * job.ye;
          there[j] = e + j < tile.e && at < job.featuresOut;
          values[j] = sums[u][i / 2][h][i % 2 * 2 + j];
          if (there[j] && job.bias != nullptr) values[j] += job.bias[at];
        }
        if (job.pairs && there[1]) {
          *reinterpret_cast<float2*>(out + feature) = make_float2(values[0], values[1]);
        } else {
          if (there[0]) out[feature] = values[0];
          if (there[1]) out[feature + job.ye] = values[1];
        }
      }
    }
  }
}

// Writes a block's sums over its tokens to its place in sums [splits, p, e, g, b, r].
__device__ __forceinline__ void writeSums(const EinsumTile& tile, const ChainJob& job, int split,
                                          int firstGamma, int firstPhi, int firstTile,
                                          int firstUnit, const Sums& sums) {
  const int lane = threadIdx.x % 32;
  const int64_t length = static_cast<int64_t>(tile.g) * tile.b * tile.r;
  const int64_t first = static_cast<int64_t>(firstGamma) * tile.b * tile.r;
  float* out = job.sums + split * (length * tile.e * tile.p);
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const int row = firstTile * 16 + lane / 4 + 8 * i;
    if (row >= tile.depth || first + row >= length) continue;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int unit = firstUnit + u, phi = firstPhi + unit / tile.eTiles;
      if (unit >= tile.units || phi >= tile.p) continue;
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int e = unit % tile.eTiles * 16 + n / 2 * 8 + lane % 4 * 2 + n % 2;
        if (e >= tile.e) continue;
        float* to = out + (static_cast<int64_t>(phi) * tile.e + e) * length + first + row;
        const float value = sums[u][i / 2][n / 2][i % 2 * 2 + n % 2];
        *to = job.accumulate ? *to + value : value;
      }
    }
  }
}

// Forward: y of a group of tokens and a group of phis. Gradient: the sums over a split of the
// tokens for a group of gammas and a group of phis. blockIdx.x counts groups of phi fastest, so
// that blocks that read the same x run at the same time.
template <class Math, bool kGradient>
__global__ void __launch_bounds__(kTileThreads, 1) chainKernel(EinsumTile tile, ChainJob job) {
  using Element = typename Math::Element;
  constexpr int kBytes = sizeof(Element);
  EINLINEAR_DYNAMIC_SHARED(shared);
  Element* z = reinterpret_cast<Element*>(shared + tile.zAt);
  Element* s = reinterpret_cast<Element*>(shared + tile.sAt);
  int* rows = reinterpret_cast<int*>(shared + tile.rowsAt);
  int* columns = reinterpret_cast<int*>(shared + tile.columnsAt);
  const int thread = threadIdx.x, warp = thread / 32;

  const int phiGroup = blockIdx.x % tile.phiGroups, rest = blockIdx.x / tile.phiGroups;
  const int gammaGroup = kGradient ? rest % tile.gammaGroups : 0;
  const int split = kGradient ? rest / tile.gammaGroups : 0;
  const int tokenGroup = kGradient ? split * job.chunks : rest;
  const int tokenGroups = (job.tokens + tile.tokens - 1) / tile.tokens;
  const int groups = tokenGroups - tokenGroup;  // negative where a slab has no token for a split
  const int chunks = kGradient ? (groups < job.chunks ? groups : job.chunks) : tile.gammaGroups;
  const int firstPhi = phiGroup * tile.phis;
  const int iterations = chunks * tile.steps;

  for (int i = thread; i < tile.rowsInPadded; i += kTileThreads)
    rows[i] = i < tile.rowsIn ? i / tile.b * tile.d * tile.rowZ + i % tile.b * tile.r : -1;
  for (int i = thread; i < tile.columnsPadded; i += kTileThreads) {
    const int row = i / (tile.d * tile.r) * tile.rowsOutPadded + i / tile.r % tile.d;
    columns[i] = i < tile.columns ? row * tile.rowZ + i % tile.r : -1;
  }
  // Padding of z is multiplied with padding that is 0: it has to be a number.
  for (int i = thread; i < tile.zBytes / 4; i += kTileThreads)
    reinterpret_cast<uint32_t*>(z)[i] = 0;

  const auto loadStep = [&](int iteration) {
    const int chunk = iteration / tile.steps;
    const int token = (tokenGroup + (kGradient ? chunk : 0)) * tile.tokens;
    const int gamma = (kGradient ? gammaGroup : chunk) * tile.gammas +
                      (iteration - chunk * tile.steps) * tile.stepGammas;
    const int left = tile.g - gamma;
    const int gammas = left < 0 ? 0 : left < tile.stepGammas ? left : tile.stepGammas;
    const int pieces = tile.width * kBytes / 16;
    unsigned char* buffer = shared + iteration % kBuffers * tile.bufferBytes;
    const int64_t firstRow = static_cast<int64_t>(token) * tile.b;
    const int tokens = job.tokens - token < tile.tokens ? job.tokens - token : tile.tokens;
    copyRows(tile.copyX, tile.rowsInPadded, buffer, tile.rowX * kBytes,
             static_cast<const Element*>(job.x) + (firstRow * tile.g + gamma) * tile.width,
             static_cast<int64_t>(tile.g) * tile.width * kBytes, tokens * tile.b, gammas * pieces);
    const int64_t row = (static_cast<int64_t>(phiGroup) * tile.g + gamma) * tile.columnsPadded;
    copyRows(tile.copyF, tile.stepGammas * tile.columnsPadded, buffer + tile.fAt,
             tile.rowF * kBytes, static_cast<const Element*>(job.f) + row * tile.width,
             tile.width * kBytes, gammas * tile.columnsPadded, pieces);
  };
  const auto loadSecond = [&](int chunk) {
    if (kGradient) {
      const int token = (tokenGroup + chunk) * tile.tokens, wide = tile.eTiles * 16;
      const int tokens = job.tokens - token < tile.tokens ? job.tokens - token : tile.tokens;
      const int phis = tile.p - firstPhi < tile.phis ? tile.p - firstPhi : tile.phis;
      const int64_t row = static_cast<int64_t>(token) * tile.d;
      copyRows(tile.copyS, tile.rowsOutPadded, s, tile.rowS * kBytes,
               static_cast<const Element*>(job.s) + (row * tile.p + firstPhi) * wide,
               static_cast<int64_t>(tile.p) * wide * kBytes, tokens * tile.d,
               phis * wide * kBytes / 16);
    } else {
      const int64_t row =
          (static_cast<int64_t>(phiGroup) * tile.gammaGroups + chunk) * tile.units * 16;
      copyRows(tile.copyS, tile.units * 16, s, tile.rowS * kBytes,
               static_cast<const Element*>(job.s) + row * tile.depthPadded,
               tile.depthPadded * kBytes, tile.units * 16, tile.copyS.pieces.by);
    }
  };

  Sums sums = {};
  const int firstTile = warp % tile.rowGroups * kRowTiles;
  const int firstUnit = warp / tile.rowGroups * kUnits;

  // Two groups of copies an iteration: S or dy of a chunk that begins, and x and F of the step
  // after the next; either may be empty.
  for (int i = 0; i < kBuffers - 1; ++i) {
    if (i < iterations) loadStep(i);
    commitCopies();
    if (i < kBuffers - 2) commitCopies();
  }
  int chunk = 0, step = 0;
  for (int iteration = 0; iteration < iterations; ++iteration) {
    waitForCopies<2 * (kBuffers - 2)>();  // this step's have landed
    __syncthreads();
    if (step == 0) loadSecond(chunk);
    commitCopies();
    if (iteration + kBuffers - 1 < iterations) loadStep(iteration + kBuffers - 1);
    commitCopies();
    const unsigned char* buffer = shared + iteration % kBuffers * tile.bufferBytes;
    firstStage<Math>(tile, reinterpret_cast<const Element*>(buffer),
                     reinterpret_cast<const Element*>(buffer + tile.fAt), rows, columns,
                     z + step * tile.stepGammas * tile.b * tile.r);
    if (++step < tile.steps) continue;
    waitForCopies<1>();  // all but the newest step's
    __syncthreads();
    secondStage<Math, kGradient>(tile, z, s, firstTile, firstUnit, sums);
    step = 0, ++chunk;
  }
  waitForCopies<0>();

  if (kGradient) {
    writeSums(tile, job, split, gammaGroup * tile.gammas, firstPhi, firstTile, firstUnit, sums);
    return;
  }
  const int firstToken = tokenGroup * tile.tokens;
  writeOutputs(tile, job, firstToken, firstPhi, firstTile, firstUnit, sums);
  if (phiGroup != 0 || job.featuresOut == job.dOut) return;
  for (int token = firstToken + warp; token < job.tokens && token < firstToken + tile.tokens;
       token += kTileWarps)
    for (int64_t i = job.featuresOut + thread % 32; i < job.dOut; i += 32)
      job.y[token * job.dOut + i] = 0;
}

// sums[splits, outer] (+)= the sum of dy [tokens, dOut] over each split of the tokens, in
// blockIdx.y; features that are not stored count as 0
__global__ void biasSumsKernel(int64_t tokens, int64_t dOut, int64_t outer, int64_t perSplit,
                               bool accumulate, const float* dy, float* sums) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= outer) return;
  const int64_t first = blockIdx.y * perSplit;
  const int64_t last = first + perSplit < tokens ? first + perSplit : tokens;
  float sum = 0;
  if (i < dOut)
    for (int64_t token = first; token < last; ++token) sum += dy[token * dOut + i];
  float* to = sums + blockIdx.y * outer + i;
  *to = accumulate ? *to + sum : sum;
}

// out = the sum over the splits, in order, of sums [splits, p, e, g, b, r]; out has the strides of
// S
__global__ void addSplitsKernel(EinsumChain chain, int64_t count, int splits, const float* sums,
                                float* out) {
  forEach(count, [&](int64_t i) {
    float sum = 0;
    for (int split = 0; split < splits; ++split) sum += sums[split * count + i];
    int64_t rest = i / chain.r, to = i % chain.r * chain.sr;
    to += rest % chain.b * chain.sb, rest /= chain.b;
    to += rest % chain.g * chain.sg, rest /= chain.g;
    out[to + rest % chain.e * chain.se + rest / chain.e * chain.sp] = sum;
  });
}

// ---- launchers ----------------------------------------------------------------------------------

enum class Path { fused, gemm };

// The one place that chooses. `fits`: all tiles of the fused kernel fit in shared memory. Where
// there is little between the stages (low rank), writing it costs little and products without a
// second stage to feed run faster.
Path choosePath(const EinsumChain& chain, bool fits) {
  static const char* const wanted = std::getenv("EINLINEAR_CUDA_PATH");
  if (wanted != nullptr && *wanted != '\0') {
    if (std::strcmp(wanted, "gemm") == 0) return Path::gemm;
    if (std::strcmp(wanted, "fused") != 0)
      fail("INVALID_ARGUMENT", "Expected EINLINEAR_CUDA_PATH to be fused or gemm, got %s", wanted);
    if (!fits)
      fail("INVALID_ARGUMENT",
           "EINLINEAR_CUDA_PATH is fused, but this layer's tiles do not fit in shared memory");
    return Path::fused;
  }
  const bool much = times(4, chain.between()) >= plus(chain.inner(), chain.outer());
  return fits && much ? Path::fused : Path::gemm;
}

constexpr int64_t kSlabBytes = int64_t{32} << 20;  // packed tokens, to stay in the L2 cache
constexpr int64_t kSlabRound = 64;
constexpr int64_t kBiasSplits = 64;

int64_t paddedInput(const EinsumChain& c) { return times(c.g, c.b, times(16, ceilDiv(c.a, 16))); }

// Tokens of a slab when a token takes so many bytes packed: slabs of about the same size.
int64_t slabOf(int64_t tokens, int64_t bytes) {
  const int64_t most = kSlabBytes / bytes / kSlabRound * kSlabRound;
  const int64_t slabs = ceilDiv(tokens, most > kSlabRound ? most : kSlabRound);
  return slabs <= 1 ? tokens : ceilDiv(ceilDiv(tokens, slabs), kSlabRound) * kSlabRound;
}

// planEinsum for the current device, remembered: a training step asks the same again and again.
bool planned(const Context& context, const EinsumChain& chain, bool gradient, int64_t tokens,
             int elementBytes, int kDepth, EinsumTile& tile) {
  struct Plan {
    bool fits;
    EinsumTile tile;
  };
  using Question = std::array<int64_t, 12>;
  constexpr size_t kMost = 1024;
  static std::mutex mutex;
  static std::map<Question, Plan> plans;
  int device = 0, shared = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const Question question = {chain.g, chain.b,  chain.a, chain.p, chain.d,      chain.e,
                             chain.r, gradient, tokens,  kDepth,  elementBytes, device};
  std::lock_guard<std::mutex> lock(mutex);
  auto found = plans.find(question);
  if (found == plans.end()) {
    check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "cudaDeviceGetAttribute");
    if (plans.size() >= kMost) plans.clear();
    Plan plan = {};
    plan.fits = planEinsum(chain, gradient, tokens, elementBytes, kDepth, context.multiprocessors(),
                           shared, plan.tile);
    found = plans.emplace(question, plan).first;
  }
  tile = found->second.tile;
  return found->second.fits;
}

// One pass over the tokens: the chain forward, or the gradient of its S.
template <class Math>
struct Pass {
  using Element = typename Math::Element;
  EinsumChain chain;
  bool gradient;
  EinsumTile tile = {};
  int splits = 0, chunks = 0;  // gradient
  ChainJob job = {};

  Pass(const EinsumChain& chain_, bool gradient_) : chain(chain_), gradient(gradient_) {}

  // Chooses the tile for a slab of tokens; false if none fits.
  bool plan(const Context& context, int64_t slab) {
    if (!planned(context, chain, gradient, slab, sizeof(Element), Math::kDepth, tile)) return false;
    const int processors = context.multiprocessors();
    const int64_t tiles = times(tile.phiGroups, tile.gammaGroups);
    const int64_t groups = ceilDiv(slab, tile.tokens);
    chunks = static_cast<int>(ceilDiv(groups, tiles < processors ? processors / tiles : 1));
    splits = static_cast<int>(ceilDiv(groups, chunks));
    return true;
  }
  int64_t packedSize() const { return tile.firstSize() + (gradient ? 0 : tile.secondSize()); }
  int64_t sumsSize() const { return times(splits, chain.secondSize()); }

  // Packs the factors into `to` [packedSize()].
  void pack(Context& context, const float* f, const float* s, Element* to) {
    context.launch(packFirstKernel<Math>, blocksFor(tile.firstSize(), 4), dim3(kThreads), 0, tile,
                   chain, tile.firstSize(), f, to);
    job.f = to;
    if (gradient) return;
    to += tile.firstSize();
    context.launch(packSecondKernel<Math>, blocksFor(tile.secondSize(), 4), dim3(kThreads), 0, tile,
                   chain, tile.secondSize(), s, to);
    job.s = to;
  }

  // Forward on a slab: packed x to y [tokens, dOut].
  void run(Context& context, int64_t tokens, const Element* x, const float* bias, float* y) {
    job.tokens = static_cast<int>(tokens);
    job.x = x, job.bias = bias, job.y = y;
    job.dOut = chain.dOut, job.featuresOut = static_cast<int>(chain.featuresOut());
    job.yp = static_cast<int>(chain.yp), job.ye = static_cast<int>(chain.ye);
    job.yd = static_cast<int>(chain.yd);
    job.pairs = chain.ye == 1 && chain.yp % 2 == 0 && chain.yd % 2 == 0 && chain.dOut % 2 == 0 &&
                reinterpret_cast<uintptr_t>(y) % 8 == 0;
    const int64_t blocks = ceilDiv(tokens, tile.tokens) * tile.phiGroups;
    context.launch(chainKernel<Math, false>, dim3(static_cast<unsigned>(blocks)),
                   dim3(kTileThreads), tile.sharedBytes, tile, job);
  }

  // Gradient of S from packed x and dy of a slab, added to the slabs before in `sums`.
  void addSums(Context& context, int64_t tokens, const Element* x, const Element* dy,
               bool accumulate, float* sums) {
    job.tokens = static_cast<int>(tokens);
    job.x = x, job.s = dy, job.sums = sums, job.accumulate = accumulate, job.chunks = chunks;
    const int64_t blocks = times(splits, tile.phiGroups, tile.gammaGroups);
    context.launch(chainKernel<Math, true>, dim3(static_cast<unsigned>(blocks)), dim3(kTileThreads),
                   tile.sharedBytes, tile, job);
  }
};

// x [tokens, dIn] packed, in a scratch slot for `slab` tokens, or x itself if it lies that way.
template <class Math>
const typename Math::Element* packInput(Context& context, int slot, const EinsumChain& chain,
                                        int64_t slab, int64_t tokens, const float* x) {
  using Element = typename Math::Element;
  const int64_t size = paddedInput(chain);
  const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0;
  const bool whole = size == chain.dIn && chain.b == 1 && chain.xa == 1 && chain.xg == chain.a;
  if (!Math::kRounds && aligned && whole) return reinterpret_cast<const Element*>(x);
  Element* out = context.scratch<Element>(slot, times(slab, size));
  const int width = static_cast<int>(size / (chain.g * chain.b));
  const bool vectors = aligned && chain.xa == 1 && chain.a % 4 == 0 && chain.xb % 4 == 0 &&
                       chain.xg % 4 == 0 && chain.dIn % 4 == 0;
  context.launch(packInputKernel<Math>, blocksFor(tokens * size / 8), dim3(kThreads), 0, chain,
                 tokens * size, chain.featuresIn(), width, vectors, x, out);
  return out;
}

void addSplits(Context& context, const EinsumChain& chain, int splits, const float* sums,
               float* out) {
  const int64_t count = chain.secondSize();
  context.launch(addSplitsKernel, blocksFor(count), dim3(kThreads), 0, chain, count, splits, sums,
                 out);
}

template <class Math>
void forward(Context& context, const EinsumArgs& args) {
  using Element = typename Math::Element;
  const bool mirrored = args.shape.mirrored();
  const EinsumChain chain = chainOf(args.shape, mirrored);
  const int64_t slab = slabOf(args.tokens, times(paddedInput(chain), sizeof(Element)));
  Pass<Math> pass(chain, false);
  if (choosePath(chain, pass.plan(context, slab)) == Path::gemm) return einsumByGemm(context, args);

  pass.pack(context, mirrored ? args.b : args.a, mirrored ? args.a : args.b,
            context.scratch<Element>(2, pass.packedSize()));
  for (int64_t token = 0; token < args.tokens; token += slab) {
    const int64_t tokens = slab < args.tokens - token ? slab : args.tokens - token;
    const Element* x = packInput<Math>(context, 0, chain, slab, tokens, args.x + token * chain.dIn);
    pass.run(context, tokens, x, args.bias, args.y + token * chain.dOut);
  }
}

template <class Math>
void backward(Context& context, const EinsumBackwardArgs& args) {
  using Element = typename Math::Element;
  const bool mirrored = args.shape.mirrored();
  const EinsumChain chain = chainOf(args.shape, mirrored), back = chain.transposed();
  const float *f = mirrored ? args.b : args.a, *s = mirrored ? args.a : args.b;
  float *df = mirrored ? args.db : args.da, *ds = mirrored ? args.da : args.db;
  const int64_t packed = plus(paddedInput(chain), paddedInput(back));
  const int64_t slab = slabOf(args.tokens, times(packed, sizeof(Element)));
  Pass<Math> first(back, true), second(chain, true), input(back, false);
  // All three are planned whatever is asked for, so that it does not change the path.
  const bool fits =
      input.plan(context, slab) & first.plan(context, slab) & second.plan(context, slab);
  if (choosePath(chain, fits) == Path::gemm) return einsumBackwardByGemm(context, args);

  const int64_t perBias = ceilDiv(slab, kBiasSplits), outer = chain.outer();
  const int biasSplits = static_cast<int>(ceilDiv(slab, perBias));
  if (args.dx != nullptr)
    input.pack(context, s, f, context.scratch<Element>(2, input.packedSize()));
  if (df != nullptr)
    first.pack(context, s, nullptr, context.scratch<Element>(3, first.packedSize()));
  if (ds != nullptr)
    second.pack(context, f, nullptr, context.scratch<Element>(4, second.packedSize()));
  float* firstSums = context.scratch<float>(
      5, plus(plus(first.sumsSize(), second.sumsSize()), times(biasSplits, outer)));
  float* secondSums = firstSums + first.sumsSize();
  float* biasSums = secondSums + second.sumsSize();

  for (int64_t token = 0; token < args.tokens; token += slab) {
    const int64_t tokens = slab < args.tokens - token ? slab : args.tokens - token;
    const float* dyAt = args.dy + token * chain.dOut;
    const Element *x = nullptr, *dy = nullptr;
    if (args.dx != nullptr || df != nullptr || ds != nullptr)
      dy = packInput<Math>(context, 1, back, slab, tokens, dyAt);
    if (df != nullptr || ds != nullptr)
      x = packInput<Math>(context, 0, chain, slab, tokens, args.x + token * chain.dIn);
    if (args.dx != nullptr) input.run(context, tokens, dy, nullptr, args.dx + token * chain.dIn);
    if (df != nullptr) first.addSums(context, tokens, dy, x, token > 0, firstSums);
    if (ds != nullptr) second.addSums(context, tokens, x, dy, token > 0, secondSums);
    if (args.dbias != nullptr)
      context.launch(
          biasSumsKernel,
          dim3(static_cast<unsigned>(ceilDiv(outer, kThreads)), static_cast<unsigned>(biasSplits)),
          dim3(kThreads), 0, tokens, chain.dOut, outer, perBias, token > 0, dyAt, biasSums);
  }
  if (df != nullptr) addSplits(context, back, first.splits, firstSums, df);
  if (ds != nullptr) addSplits(context, chain, second.splits, secondSums, ds);
  if (args.dbias != nullptr) {
    EinsumChain flat = {};
    flat.p = flat.d = flat.r = flat.g = flat.b = flat.a = 1, flat.e = outer, flat.se = 1;
    addSplits(context, flat, biasSplits, biasSums, args.dbias);
  }
}

}  // namespace

void einsum(Context& context, const EinsumArgs& args) {
  if (args.tokens == 0) return;
  switch (context.compute()) {
    case Compute::float32:
      return forward<Float32>(context, args);
    case Compute::tf32:
      return forward<Tf32>(context, args);
    case Compute::bfloat16:
      return forward<Bf16>(context, args);
  }
}

void einsumBackward(Context& context, const EinsumBackwardArgs& args) {
  if (args.tokens == 0) {
    // Sums over nothing.
    const struct {
      float* y;
      int64_t count;
    } outputs[] = {{args.da, args.shape.sizeA()},
                   {args.db, args.shape.sizeB()},
                   {args.dbias, args.shape.outer()}};
    for (const auto& each : outputs)
      if (each.y != nullptr) fill(context, {each.count, 0.0f, each.y});
    return;
  }
  switch (context.compute()) {
    case Compute::float32:
      return backward<Float32>(context, args);
    case Compute::tf32:
      return backward<Tf32>(context, args);
    case Compute::bfloat16:
      return backward<Bf16>(context, args);
  }
}

}  // namespace cuda
}  // namespace einlinear
