// attention, attentionBackward: a tile of queries at a time, in lane tiles (transpose.h), so that
// the softmax over keys is arithmetic between vectors of queries.
//
// Per (batch entry, head, tile of kLanes queries): S = K q^T [keys, kLanes], softmax down the keys,
// o = V^T S. Only that tile of scores exists. Backward recomputes it from lse. FLOPs: 4 (forward)
// and 10 (backward) * pairs of query and key * headDim; causal tiles stop at the diagonal.
#include <cstring>

#include "../context.h"
#include "gemm.h"
#include "math.h"
#include "microkernel.h"
#include "ops.h"
#include "transpose.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr float kNegativeInfinity = -__builtin_inff();

// One head: row t of a tensor [batch, time, heads, headDim] at base + t * stride.
struct Head {
  int64_t time, dim, stride, offset;

  Head(int64_t time_, int64_t heads, int64_t dim_, int64_t task)
      : time(time_),
        dim(dim_),
        stride(heads * dim_),
        offset(task / heads * time_ * stride + task % heads * dim_) {}
};

// to[t, padded] = rows of the head, zero beyond dim
void copyHead(const Head& head, const float* from, int64_t padded, float* to) {
  for (int64_t t = 0; t < head.time; ++t) {
    std::memcpy(to + t * padded, from + head.offset + t * head.stride,
                static_cast<size_t>(head.dim) * sizeof(float));
    for (int64_t i = head.dim; i < padded; ++i) to[t * padded + i] = 0.0f;
  }
}

// Packs the head's rows as weights over keys: W[dim, keys], panel by panel.
void packKeys(const Head& head, const float* from, float* to) {
  const Panels panels(head.time);
  for (int64_t p = 0; p < panels.count; ++p) {
    const int64_t first = panels.first(p);
    packPanel(from + head.offset + first * head.stride, head.stride, 1, panels.size(p), head.dim,
              to + first * head.dim);
  }
}

struct QueryTile {
  int64_t first, keys;
  int count;
  const float* in[kLanes];
  float* out[kLanes];

  QueryTile(const Head& head, bool causal, int64_t tile, const float* from, float* to)
      : first(tile * kLanes),
        keys(causal ? minOf(head.time, first + kLanes) : head.time),
        count(static_cast<int>(minOf(kLanes, head.time - first))) {
    for (int lane = 0; lane < count; ++lane) {
      const int64_t at = head.offset + (first + lane) * head.stride;
      in[lane] = from + at;
      out[lane] = to == nullptr ? nullptr : to + at;
    }
  }
};

// The scale goes onto the queries, before the mask: it may be zero or negative.
void scaleTile(float* tile, int64_t rows, float scale) {
  for (int64_t i = 0; i < rows * kLanes; i += kWidth) store(tile + i, load(tile + i) * scale);
}

// scores[key, lane] = <K[key], q[lane]> for the first `keys` keys (rounded up to a panel).
void score(const Head& head, const float* packed, const float* qt, int64_t keys, float* scores) {
  const Panels panels(head.time);
  for (int64_t p = 0; p < panels.count && panels.first(p) < keys; ++p) {
    const int64_t first = panels.first(p), size = panels.size(p);
    for (int lane = 0; lane < kLanes; lane += 2 * kWidth)
      kBlocks[size - 1][1](head.dim, packed + first * head.dim, size, qt + lane, kLanes,
                           scores + first * kLanes + lane, kLanes, false);
  }
}

// Lanes whose query comes before `key` do not see it.
inline void maskLanes(float* row, int64_t key, int64_t firstQuery, float value) {
  for (int lane = 0; lane < kLanes && firstQuery + lane < key; ++lane) row[lane] = value;
}

}  // namespace

void attention(Context& context, const AttentionArgs& args) {
  if (args.time == 0 || args.headDim == 0) return;
  const int64_t padded = roundUp(args.headDim);
  const int64_t perWorker =
      2 * args.time * padded + 2 * args.headDim * kLanes + (args.time + kMaxRows) * kLanes + kWidth;
  float* memory = context.scratch(0, perWorker * context.workers());
  context.parallel(args.batch * args.heads, [&](int64_t task, int worker) {
    const Head head(args.time, args.heads, args.headDim, task);
    float* keys = memory + worker * perWorker;
    float *values = keys + args.time * padded, *qt = values + args.time * padded,
          *ot = qt + head.dim * kLanes;
    float* scores = ot + head.dim * kLanes;
    packKeys(head, args.k, keys);
    copyHead(head, args.v, padded, values);
    const Panels outputs(head.dim);
    for (int64_t tile = 0; tile * kLanes < head.time; ++tile) {
      const QueryTile query(head, args.causal, tile, args.q, args.o);
      rowsToTile(query.in, query.count, head.dim, qt);
      scaleTile(qt, head.dim, args.scale);
      score(head, keys, qt, query.keys, scores);
      if (args.causal)
        for (int64_t key = query.first + 1; key < query.keys; ++key)
          maskLanes(scores + key * kLanes, key, query.first, kNegativeInfinity);
      for (int lane = 0; lane < kLanes; lane += kWidth) {
        float* column = scores + lane;
        Vec top = load(column);
        for (int64_t key = 1; key < query.keys; ++key) {
          const Vec s = load(column + key * kLanes);
          top = s > top ? s : top;
        }
        Vec total = {};
        for (int64_t key = 0; key < query.keys; ++key) {
          const Vec p = exp(load(column + key * kLanes) - top);
          store(column + key * kLanes, p);
          total += p;
        }
        const Vec inverse = 1.0f / total;
        for (int64_t key = 0; key < query.keys; ++key)
          store(column + key * kLanes, load(column + key * kLanes) * inverse);
        const Vec lse = top + log(total);
        for (int i = 0; i < kWidth && lane + i < query.count; ++i)
          args.lse[task * head.time + query.first + lane + i] = lse[i];
      }
      product(outputs, {values, padded}, query.keys, scores, kLanes, kLanes, ot, kLanes, false);
      tileToRows(ot, kLanes, head.dim, query.out, query.count, nullptr);
    }
  });
}

void attentionBackward(Context& context, const AttentionBackwardArgs& args) {
  if (args.time == 0 || args.headDim == 0) return;
  const int64_t padded = roundUp(args.headDim), keyStride = rowStride(args.time);
  const int64_t perWorker = 5 * args.time * padded + 3 * args.headDim * kLanes +
                            2 * (args.time + kMaxRows) * kLanes + kLanes * keyStride +
                            2 * kLanes * padded + 2 * kWidth;
  float* memory = context.scratch(0, perWorker * context.workers());
  context.parallel(args.batch * args.heads, [&](int64_t task, int worker) {
    const Head head(args.time, args.heads, args.headDim, task);
    float* packedKeys = memory + worker * perWorker;
    float* packedValues = packedKeys + head.time * padded;
    float* keys = packedValues + head.time * padded;
    float *dk = keys + head.time * padded, *dv = dk + head.time * padded;
    float *qt = dv + head.time * padded, *dot = qt + head.dim * kLanes,
          *dqt = dot + head.dim * kLanes;
    float* probs = dqt + head.dim * kLanes;
    float* dscores = probs + (head.time + kMaxRows) * kLanes;
    float* tokens = dscores + (head.time + kMaxRows) * kLanes;
    float *queryRows = tokens + kLanes * keyStride, *doutRows = queryRows + kLanes * padded;
    packKeys(head, args.k, packedKeys);
    packKeys(head, args.v, packedValues);
    copyHead(head, args.k, padded, keys);
    std::memset(dk, 0, static_cast<size_t>(2 * head.time * padded) * sizeof(float));
    const Panels dims(head.dim);
    for (int64_t tile = 0; tile * kLanes < head.time; ++tile) {
      const QueryTile query(head, args.causal, tile, args.q, args.dq);
      const QueryTile grad(head, args.causal, tile, args.dout, nullptr);
      rowsToTile(query.in, query.count, head.dim, qt);
      scaleTile(qt, head.dim, args.scale);
      rowsToTile(grad.in, grad.count, head.dim, dot);
      alignas(64) float lse[kLanes] = {}, delta[kLanes] = {};
      for (int lane = 0; lane < query.count; ++lane) {
        lse[lane] = args.lse[task * head.time + query.first + lane];
        const float* o = args.o + head.offset + (query.first + lane) * head.stride;
        for (int64_t i = 0; i < head.dim; ++i) delta[lane] += o[i] * grad.in[lane][i];
      }
      score(head, packedKeys, qt, query.keys, probs);
      score(head, packedValues, dot, query.keys, dscores);
      for (int64_t key = 0; key < query.keys; ++key) {
        float *p = probs + key * kLanes, *ds = dscores + key * kLanes;
        for (int lane = 0; lane < kLanes; lane += kWidth)
          store(p + lane, exp(load(p + lane) - load(lse + lane)));
        if (args.causal && key > query.first) maskLanes(p, key, query.first, 0.0f);
        for (int lane = 0; lane < kLanes; lane += kWidth)
          store(ds + lane, load(p + lane) * (load(ds + lane) - load(delta + lane)) * args.scale);
      }
      product(dims, {keys, padded}, query.keys, dscores, kLanes, kLanes, dqt, kLanes, false);
      tileToRows(dqt, kLanes, head.dim, query.out, query.count, nullptr);
      for (int lane = 0; lane < query.count; ++lane) {
        for (int64_t i = 0; i < padded; ++i) {
          queryRows[lane * padded + i] = i < head.dim ? query.in[lane][i] : 0.0f;
          doutRows[lane * padded + i] = i < head.dim ? grad.in[lane][i] : 0.0f;
        }
      }
      const Panels rows(query.keys);
      tileToTokens(probs, kLanes, query.keys, tokens, keyStride);
      product(rows, {tokens, keyStride}, query.count, doutRows, padded, padded, dv, padded, true);
      tileToTokens(dscores, kLanes, query.keys, tokens, keyStride);
      product(rows, {tokens, keyStride}, query.count, queryRows, padded, padded, dk, padded, true);
    }
    for (int64_t t = 0; t < head.time; ++t) {
      const int64_t at = head.offset + t * head.stride;
      std::memcpy(args.dk + at, dk + t * padded, static_cast<size_t>(head.dim) * sizeof(float));
      std::memcpy(args.dv + at, dv + t * padded, static_cast<size_t>(head.dim) * sizeof(float));
    }
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
