// moeRoute and moeRouteBackward: top-k gating of [tokens, experts] logits with its auxiliary loss.
//
// Forward reads the logits and writes the softmax, 8 bytes and one exponential a logit, and looks
// at every logit once more for each expert chosen (from cache). Sums over tokens go kTokens tokens
// at a time into partial sums, added in a fixed order. Backward reads and writes 4 bytes a logit
// each.
#include "../block_reduce.h"
#include "../grid.h"
#include "../report.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int kTokens = 128;
constexpr double kLseWeight = 0.1;

// Lanes of a warp that share a token: a power of two, so that `experts` leaves few of them idle.
int lanesFor(int64_t experts) {
  int lanes = 1;
  while (lanes < 32 && lanes < experts) lanes *= 2;
  return lanes;
}

// ---- kernels ------------------------------------------------------------------------------------

// The join of `value` over each `lanes` neighbouring lanes of the warp, in all of them.
template <class Kind, class T>
__device__ inline T lanesReduce(T value, int lanes) {
  for (int by = lanes / 2; by > 0; by /= 2)
    value = Kind::join(value, __shfl_xor_sync(~0u, value, by));
  return value;
}

// A number that orders logits as they are chosen: the largest first, NaN last, of equal ones (0 and
// -0 too) the lowest expert first. Unlike for every expert, and never 0.
__device__ inline uint64_t rankOf(float logit, int64_t expert) {
  const uint32_t bits = __float_as_uint(logit == 0.0f ? 0.0f : logit);
  const uint32_t rising = logit != logit ? 0u : bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(rising) << 32 | (0xffffffffu - static_cast<uint32_t>(expert));
}
__device__ inline int32_t expertOf(uint64_t rank) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(rank));
}

// Routes a block's kTokens tokens, `lanes` lanes each, and sums what the auxiliary loss needs.
// logits, probs: [tokens, experts]; index, weight: [tokens, k]; lse: [tokens]
// partial: [2 * experts + 2, blocks]: softmax and positive weights by expert, lse^2, exp(entropy)
__global__ void __launch_bounds__(kThreads)
    routeKernel(int64_t tokens, int64_t experts, int64_t k, float epsilon, int lanes,
                const float* logits, int32_t* index, float* weight, float* probs, float* lse,
                double* partial) {
  __shared__ double sums[kThreads];
  __shared__ int counts[kThreads];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTokens;
  const int64_t last = first + kTokens < tokens ? first + kTokens : tokens;
  const int lane = threadIdx.x % lanes;
  double squares = 0, perplexity = 0;

  // Lanes of a warp take every round together, with or without a token, because they shuffle.
  for (int64_t from = first; from < last; from += kThreads / lanes) {
    const int64_t mine = from + threadIdx.x / lanes;
    const bool valid = mine < last;
    const int64_t t = valid ? mine : first;
    const float* row = logits + t * experts;

    uint64_t before = ~uint64_t{0};
    float top = 0, total = 0;
    for (int64_t j = 0; j < k; ++j) {
      uint64_t best = 0;
      for (int64_t e = lane; e < experts; e += lanes) {
        const uint64_t rank = rankOf(row[e], e);
        if (rank < before && rank > best) best = rank;
      }
      before = lanesReduce<Max>(best, lanes);
      const float logit = row[expertOf(before)];
      if (j == 0) top = logit;
      const float power = expf(logit - top);
      total += power;
      if (valid && j % lanes == lane) {
        index[t * k + j] = expertOf(before);
        weight[t * k + j] = power;
      }
    }
    if (valid)
      for (int64_t j = lane; j < k; j += lanes)
        weight[t * k + j] = weight[t * k + j] / total + epsilon;

    float highest = -INFINITY, whole = 0, along = 0;
    for (int64_t e = lane; e < experts; e += lanes) highest = Max::join(highest, row[e]);
    highest = lanesReduce<Max>(highest, lanes);
    for (int64_t e = lane; e < experts; e += lanes) whole += expf(row[e] - highest);
    whole = lanesReduce<Sum>(whole, lanes);
    const float scale = 1.0f / whole, rest = logf(whole);
    for (int64_t e = lane; e < experts; e += lanes) {
      const float below = row[e] - highest, p = expf(below) * scale;
      if (valid) probs[t * experts + e] = p;
      if (p != 0.0f) along += p * below;
    }
    // entropy = log(whole) - sum of p * (logit - highest)
    const float entropy = rest - lanesReduce<Sum>(along, lanes);
    if (valid && lane == 0) {
      const double all = static_cast<double>(highest) + static_cast<double>(rest);
      lse[t] = static_cast<float>(all);
      squares += all * all;
      perplexity += static_cast<double>(expf(entropy));
    }
  }
  squares = blockReduce<Sum>(squares);
  perplexity = blockReduce<Sum>(perplexity);
  if (threadIdx.x == 0) {
    partial[2 * experts * gridDim.x + blockIdx.x] = squares;
    partial[(2 * experts + 1) * gridDim.x + blockIdx.x] = perplexity;
  }

  // By expert, `columns` experts at a time; the threads beyond share the tokens.
  int columns = 1;
  while (columns < kThreads && columns < experts) columns *= 2;
  const int column = threadIdx.x % columns, part = threadIdx.x / columns;
  for (int64_t from = 0; from < experts; from += columns) {
    __syncthreads();
    double share = 0;
    if (from + column < experts)
      for (int64_t t = first + part; t < last; t += kThreads / columns)
        share += static_cast<double>(probs[t * experts + from + column]);
    sums[threadIdx.x] = share;
    counts[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t pair = first * k + threadIdx.x; pair < last * k; pair += kThreads) {
      const int64_t at = index[pair] - from;
      if (at >= 0 && at < columns && weight[pair] > 0.0f) atomicAdd(&counts[at], 1);
    }
    __syncthreads();
    if (part == 0 && from + column < experts) {
      for (int other = 1; other < kThreads / columns; ++other)
        share += sums[other * columns + column];
      partial[(from + column) * gridDim.x + blockIdx.x] = share;
      partial[(experts + from + column) * gridDim.x + blockIdx.x] = counts[column];
    }
  }
}

// totals[row] = sum of partial[row, 0..blocks), a block of threads a row
__global__ void __launch_bounds__(kThreads)
    sumPartialsKernel(int64_t blocks, const double* partial, double* totals) {
  const double* row = partial + blockIdx.x * blocks;
  double total = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) total += row[i];
  total = blockReduce<Sum>(total);
  if (threadIdx.x == 0) totals[blockIdx.x] = total;
}

// One block. totals: [2 * experts + 2], as partial of routeKernel; usage: [experts]; aux: [1];
// perplexity: [2]
__global__ void __launch_bounds__(kThreads)
    auxiliaryKernel(int64_t tokens, int64_t experts, const double* totals, float* usage, float* aux,
                    float* perplexity) {
  double shares = 0, counts = 0, balance = 0, entropy = 0;
  for (int64_t e = threadIdx.x; e < experts; e += kThreads) {
    shares += totals[e];
    counts += totals[experts + e];
  }
  shares = blockReduce<Sum>(shares);
  counts = blockReduce<Sum>(counts);
  const double perShare = shares != 0.0 ? 1.0 / shares : 0.0;
  const double perCount = counts > 0.0 ? 1.0 / counts : 0.0;
  for (int64_t e = threadIdx.x; e < experts; e += kThreads) {
    const double p = totals[e] * perShare, f = totals[experts + e] * perCount;
    usage[e] = static_cast<float>(f);
    balance += p * f;
    if (p != 0.0) entropy -= p * static_cast<double>(logf(static_cast<float>(p)));
  }
  balance = blockReduce<Sum>(balance);
  entropy = blockReduce<Sum>(entropy);
  if (threadIdx.x != 0) return;
  const double perToken = 1.0 / static_cast<double>(tokens > 0 ? tokens : 1);
  *aux = static_cast<float>(static_cast<double>(experts) * balance +
                            kLseWeight * totals[2 * experts] * perToken);
  perplexity[0] = static_cast<float>(totals[2 * experts + 1] * perToken);
  perplexity[1] = tokens > 0 ? expf(static_cast<float>(entropy)) : 0.0f;
}

// `lanes` lanes a token; each lane looks after its own experts, so that it alone writes them.
// index, weight, dweight: [tokens, k]; probs, dlogits: [tokens, experts]; lse: [tokens]; usage:
// [experts]; daux: [1]; dweight and daux may be null
__global__ void __launch_bounds__(kThreads)
    routeBackwardKernel(Status* status, int64_t tokens, int64_t experts, int64_t k, int lanes,
                        const int32_t* index, const float* probs, const float* lse,
                        const float* usage, const float* dweight, const float* daux,
                        float* dlogits) {
  const int64_t mine = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / lanes;
  const int lane = threadIdx.x % lanes;
  const bool valid = mine < tokens;
  const int64_t t = valid ? mine : 0;
  const float* p = probs + t * experts;
  float* d = dlogits + t * experts;

  // The L1 norm of the summed softmax is the number of tokens whatever the logits, so only its
  // direction has a gradient; counts have none.
  float expected = 0, balance = 0, square = 0;
  if (daux != nullptr) {
    const float each = *daux / static_cast<float>(tokens);
    balance = each * static_cast<float>(experts);
    square = each * static_cast<float>(2 * kLseWeight) * lse[t];
    for (int64_t e = lane; e < experts; e += lanes) expected += p[e] * usage[e];
    expected = lanesReduce<Sum>(expected, lanes);
  }
  if (!valid) return;
  for (int64_t e = lane; e < experts; e += lanes)
    d[e] = daux != nullptr ? p[e] * (balance * (usage[e] - expected) + square) : 0.0f;

  if (dweight == nullptr) return;
  // The chosen experts' softmax is their share of the whole one.
  const int32_t* chosen = index + t * k;
  float whole = 0, along = 0;
  for (int64_t j = 0; j < k; ++j) {
    if (!checkIndex(status, Problem::expertIndex, chosen[j], experts, t * k + j)) return;
    whole += p[chosen[j]];
  }
  for (int64_t j = 0; j < k; ++j) along += p[chosen[j]] / whole * dweight[t * k + j];
  for (int64_t j = 0; j < k; ++j)
    if (chosen[j] % lanes == lane)
      d[chosen[j]] += p[chosen[j]] / whole * (dweight[t * k + j] - along);
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void moeRoute(Context& context, const MoeRouteArgs& args) {
  const int64_t blocks = ceilDiv(args.tokens, kTokens), sums = 2 * args.experts + 2;
  double* partial = context.scratch<double>(0, sums * (blocks + 1));
  double* totals = partial + sums * blocks;
  const dim3 threads(kThreads);
  context.launch(routeKernel, dim3(static_cast<unsigned>(blocks)), threads, 0, args.tokens,
                 args.experts, args.k, args.weightEpsilon, lanesFor(args.experts), args.logits,
                 args.index, args.weight, args.probs, args.lse, partial);
  context.launch(sumPartialsKernel, dim3(static_cast<unsigned>(sums)), threads, 0, blocks, partial,
                 totals);
  context.launch(auxiliaryKernel, dim3(1), threads, 0, args.tokens, args.experts, totals,
                 args.usage, args.aux, args.perplexity);
}

void moeRouteBackward(Context& context, const MoeRouteBackwardArgs& args) {
  const int lanes = lanesFor(args.experts);
  context.launch(
      routeBackwardKernel, dim3(static_cast<unsigned>(ceilDiv(args.tokens, kThreads / lanes))),
      dim3(kThreads), 0, context.status(), args.tokens, args.experts, args.k, lanes, args.index,
      args.probs, args.lse, args.usage, args.dweight, args.daux, args.dlogits);
}

}  // namespace cuda
}  // namespace einlinear
