// moeRoute and moeRouteBackward: top-k gating of [tokens, experts] logits with its auxiliary loss.
//
// Forward reads the logits and writes the softmax; its cost is one exponential per logit and the
// selection, experts * k comparisons a token at worst. Sums over tokens go kTokens tokens at a time
// into partial sums, added in order.
#include "indices.h"
#include "ops.h"
#include "softmax_row.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr int64_t kTokens = 256;
constexpr double kLseWeight = 0.1;

// Whether a logit goes before another of a lower index: strictly larger, NaN smallest of all.
inline bool before(float a, float b) { return a > b || (b != b && a == a); }

// The k first of logits[0..experts), in order.
void select(const float* logits, int64_t experts, int64_t k, int32_t* index) {
  int64_t found = 0;
  for (int64_t e = 0; e < experts; ++e) {
    if (found == k && !before(logits[e], logits[index[k - 1]])) continue;
    int64_t place = found < k ? found++ : k - 1;
    for (; place > 0 && before(logits[e], logits[index[place - 1]]); --place)
      index[place] = index[place - 1];
    index[place] = static_cast<int32_t>(e);
  }
}

// Softmax over the chosen logits, which are in descending order, plus epsilon.
void weigh(const float* logits, const int32_t* index, int64_t k, float epsilon, float* weight) {
  for (int64_t j = 0; j < k; ++j) weight[j] = logits[index[j]];
  float total = 0;
  vectors(0, k, [&, top = weight[0]](int64_t j, auto part) {
    const Vec e = exp(part.get(weight + j) - top);
    part.put(weight + j, e);
    total += sum(part.only(e, 0.0f));
  });
  for (int64_t j = 0; j < k; ++j) weight[j] = weight[j] / total + epsilon;
}

}  // namespace

void moeRoute(Context& context, const MoeRouteArgs& args) {
  const int64_t experts = args.experts, k = args.k, blocks = ceilDiv(args.tokens, kTokens);
  // A block's sums: softmax and positive weights by expert, lse^2, exp(entropy).
  const int64_t sums = 2 * experts + 2;
  double* partial = reinterpret_cast<double*>(context.scratch(0, 2 * maxOf(1, blocks) * sums));
  for (int64_t i = 0; i < sums; ++i) partial[i] = 0;
  context.blocks(args.tokens, kTokens, [&](int64_t begin, int64_t end) {
    double* share = partial + begin / kTokens * sums;
    double* count = share + experts;
    for (int64_t i = 0; i < sums; ++i) share[i] = 0;
    for (int64_t t = begin; t < end; ++t) {
      const float* logits = args.logits + t * experts;
      float *probs = args.probs + t * experts, *weight = args.weight + t * k;
      int32_t* index = args.index + t * k;
      select(logits, experts, k, index);
      if (k > 0) weigh(logits, index, k, args.weightEpsilon, weight);
      const float top = rowMax(logits, experts);
      const double total = rowExp(logits, experts, top, probs), rest = __builtin_log(total);
      rowScale(probs, experts, static_cast<float>(1.0 / total));
      const double lse = static_cast<double>(top) + rest;
      args.lse[t] = static_cast<float>(lse);
      // entropy = log(total) - sum of p * (logit - top)
      double entropy = rest;
      for (int64_t e = 0; e < experts; ++e) {
        const double p = static_cast<double>(probs[e]);
        share[e] += p;
        if (p != 0.0) entropy -= p * static_cast<double>(logits[e] - top);
      }
      for (int64_t j = 0; j < k; ++j) count[index[j]] += weight[j] > 0.0f;
      share[2 * experts] += lse * lse;
      share[2 * experts + 1] += __builtin_exp(entropy);
    }
  });
  for (int64_t block = 1; block < blocks; ++block)
    for (int64_t i = 0; i < sums; ++i) partial[i] += partial[block * sums + i];
  const double* share = partial;
  const double* count = partial + experts;
  const double shares = foldInOrder(share, experts), counts = foldInOrder(count, experts);
  double balance = 0, entropy = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const double p = shares != 0.0 ? share[e] / shares : 0.0,
                 f = counts > 0.0 ? count[e] / counts : 0.0;
    args.usage[e] = static_cast<float>(f);
    balance += p * f;
    if (p != 0.0) entropy -= p * __builtin_log(p);
  }
  const double tokens = static_cast<double>(maxOf(1, args.tokens));
  *args.aux = static_cast<float>(static_cast<double>(experts) * balance +
                                 kLseWeight * partial[2 * experts] / tokens);
  args.perplexity[0] = static_cast<float>(partial[2 * experts + 1] / tokens);
  args.perplexity[1] = args.tokens > 0 ? static_cast<float>(__builtin_exp(entropy)) : 0.0f;
}

void moeRouteBackward(Context& context, const MoeRouteBackwardArgs& args) {
  const int64_t experts = args.experts, k = args.k;
  checkIndices("expert indices", args.index, args.tokens * k, experts);
  const float tokens = static_cast<float>(maxOf(1, args.tokens));
  const float daux = args.daux != nullptr ? *args.daux / tokens : 0.0f;
  const float balance = daux * static_cast<float>(experts),
              square = daux * static_cast<float>(2 * kLseWeight);
  context.blocks(args.tokens, kTokens, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* probs = args.probs + t * experts;
      float* dlogits = args.dlogits + t * experts;
      // The L1 norm of the summed softmax is the number of tokens whatever the logits, so only its
      // direction has a gradient; counts have none.
      if (args.daux != nullptr) {
        const float expected = static_cast<float>(fold<Sum>(0, experts, [&](int64_t e, auto part) {
          return part.get(probs + e) * part.get(args.usage + e);
        }));
        const float lse = args.lse[t] * square;
        vectors(0, experts, [&](int64_t e, auto part) {
          part.put(dlogits + e,
                   part.get(probs + e) * (balance * (part.get(args.usage + e) - expected) + lse));
        });
      } else {
        vectors(0, experts, [&](int64_t e, auto part) { part.put(dlogits + e, Vec{}); });
      }
      if (args.dweight == nullptr) continue;
      // The chosen experts' softmax is their share of the whole one.
      const int32_t* index = args.index + t * k;
      const float* dweight = args.dweight + t * k;
      float chosen = 0, along = 0;
      for (int64_t j = 0; j < k; ++j) chosen += probs[index[j]];
      for (int64_t j = 0; j < k; ++j) along += probs[index[j]] / chosen * dweight[j];
      for (int64_t j = 0; j < k; ++j)
        dlogits[index[j]] += probs[index[j]] / chosen * (dweight[j] - along);
    }
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
