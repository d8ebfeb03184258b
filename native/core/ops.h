// The op table: every operation a backend implements, with its arguments.
//
// An argument struct is plain data (it is copied into a stream's queue). `fields` names each field
// once, sizes before the pointers whose lengths they determine; the visitor that fills it from
// JavaScript checks every buffer against the element count stated here, so an op may trust its
// arguments. JavaScript passes the fields positionally, in this order.
//
// Pointers are float32 unless said otherwise, contiguous and row-major; the shape stands in the
// comment. `optIn`/`optOut` may be null. Outputs are overwritten unless said otherwise, and may
// be uninitialised before. An output never aliases an input unless "in place" is said.
#pragma once

#include <cstdint>

#include "dims.h"
#include "einsum_shape.h"

namespace einlinear {

enum class Unary : int {
  neg,
  exp,
  log,
  sqrt,
  square,
  abs,
  relu,
  geluErf,
  geluTanh,
  tanh,
  sigmoid,
  reciprocal
};
enum class Binary : int { add, sub, mul, div, maximum, minimum, greater, equal };
enum class Reduction : int { sum, mean, max, min };
enum class Distribution : int { uniform, normal };

// ---- memory -------------------------------------------------------------------------------------

// y[i] = value
struct FillArgs {
  int64_t count;
  float value;
  float* y;  // [count]
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("value", value);
    v.out("y", y, count);
  }
};

// dst[dstOffset + i.dstStrides] = src[srcOffset + i.srcStrides] for every index i of shape
// (or += with `accumulate`). Moves 32-bit words unchanged without `accumulate`, so it serves int32.
// Strides are >= 0 and destination elements are distinct. The rest of dst is left as it is.
struct StridedCopyArgs {
  Dims shape, srcStrides, dstStrides;
  int64_t srcOffset, dstOffset;
  bool accumulate;
  const float* src;
  float* dst;
  template <class V>
  void fields(V& v) {
    v.dims("shape", shape);
    v.dims("srcStrides", srcStrides, shape.rank);
    v.size("srcOffset", srcOffset);
    v.dims("dstStrides", dstStrides, shape.rank);
    v.size("dstOffset", dstOffset);
    v.flag("accumulate", accumulate);
    v.inAny("src", src, shape.extent(srcStrides, srcOffset));
    v.outAny("dst", dst, shape.extent(dstStrides, dstOffset));
  }
};

// ---- elementwise --------------------------------------------------------------------------------

// y = f(x); in place allowed
struct UnaryArgs {
  Unary kind;
  int64_t count;
  const float* x;  // [count]
  float* y;        // [count]
  template <class V>
  void fields(V& v) {
    v.choice("kind", kind, 12);
    v.size("count", count);
    v.in("x", x, count);
    v.out("y", y, count);
  }
};

// dx = dy * f'(x); in place on dy allowed
struct UnaryBackwardArgs {
  Unary kind;
  int64_t count;
  const float *x, *dy;  // [count]
  float* dx;            // [count]
  template <class V>
  void fields(V& v) {
    v.choice("kind", kind, 12);
    v.size("count", count);
    v.in("x", x, count);
    v.in("dy", dy, count);
    v.out("dx", dx, count);
  }
};

// y[i] = f(a[i.aStrides], b[i.bStrides]); y contiguous of `shape`; a stride of 0 broadcasts.
// greater and equal give 1 or 0.
struct BinaryArgs {
  Binary kind;
  Dims shape, aStrides, bStrides;
  const float *a, *b;
  float* y;  // [shape]
  template <class V>
  void fields(V& v) {
    v.choice("kind", kind, 8);
    v.dims("shape", shape);
    v.dims("aStrides", aStrides, shape.rank);
    v.dims("bStrides", bStrides, shape.rank);
    v.in("a", a, shape.extent(aStrides, 0));
    v.in("b", b, shape.extent(bStrides, 0));
    v.out("y", y, shape.product());
  }
};

// y = scale * x + shift; in place allowed
struct AffineArgs {
  int64_t count;
  float scale, shift;
  const float* x;  // [count]
  float* y;        // [count]
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("scale", scale);
    v.real("shift", shift);
    v.in("x", x, count);
    v.out("y", y, count);
  }
};

// y += alpha * x
struct AxpyArgs {
  int64_t count;
  float alpha;
  const float* x;  // [count]
  float* y;        // [count], read and written
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("alpha", alpha);
    v.in("x", x, count);
    v.out("y", y, count);
  }
};

// ---- random -------------------------------------------------------------------------------------
// Counter-based (Philox4x32-10, native/core/philox.h): element i depends on (seed, offset + i)
// only.

// uniform: y in [a, b); normal: mean a, standard deviation b
struct RandomArgs {
  Distribution kind;
  int64_t count;
  uint64_t seed, offset;
  float a, b;
  float* y;  // [count]
  template <class V>
  void fields(V& v) {
    v.choice("kind", kind, 2);
    v.size("count", count);
    v.counter("seed", seed);
    v.counter("offset", offset);
    v.real("a", a);
    v.real("b", b);
    v.out("y", y, count);
  }
};

// y[i] = u(seed, offset + i) < p ? 0 : x[i] / (1 - p). Its own backward (apply it to dy).
struct DropoutArgs {
  int64_t count;
  float p;
  uint64_t seed, offset;
  const float* x;  // [count]
  float* y;        // [count]
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("p", p);
    v.counter("seed", seed);
    v.counter("offset", offset);
    v.in("x", x, count);
    v.out("y", y, count);
  }
};

// ---- reductions and rows ------------------------------------------------------------------------

struct ReduceArgs {
  Reduction kind;
  int64_t outer, length, inner;
  const float* x;  // [outer, length, inner]
  float* y;        // [outer, inner]
  template <class V>
  void fields(V& v) {
    v.choice("kind", kind, 4);
    v.size("outer", outer);
    v.size("length", length);
    v.size("inner", inner);
    v.in("x", x, times(outer, length, inner));
    v.out("y", y, times(outer, inner));
  }
};

// y = softmax of each row, or its logarithm
struct SoftmaxArgs {
  int64_t rows, cols;
  bool log;
  const float* x;  // [rows, cols]
  float* y;        // [rows, cols]
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("cols", cols);
    v.flag("log", log);
    v.in("x", x, times(rows, cols));
    v.out("y", y, times(rows, cols));
  }
};

// y is the forward's output (probabilities, or log-probabilities with `log`)
struct SoftmaxBackwardArgs {
  int64_t rows, cols;
  bool log;
  const float *y, *dy;  // [rows, cols]
  float* dx;            // [rows, cols]
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("cols", cols);
    v.flag("log", log);
    v.in("y", y, times(rows, cols));
    v.in("dy", dy, times(rows, cols));
    v.out("dx", dx, times(rows, cols));
  }
};

// y = (x - mean) / sqrt(var + eps) * gain + bias, per row (biased variance)
struct LayerNormArgs {
  int64_t rows, cols;
  float eps;
  const float* x;      // [rows, cols]
  const float* gain;   // [cols] or null
  const float* bias;   // [cols] or null
  float* y;            // [rows, cols]
  float *mean, *rstd;  // [rows]
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("cols", cols);
    v.real("eps", eps);
    v.in("x", x, times(rows, cols));
    v.optIn("gain", gain, cols);
    v.optIn("bias", bias, cols);
    v.out("y", y, times(rows, cols));
    v.out("mean", mean, rows);
    v.out("rstd", rstd, rows);
  }
};

struct LayerNormBackwardArgs {
  int64_t rows, cols;
  const float *x, *gain, *mean, *rstd, *dy;
  float* dx;             // [rows, cols]
  float *dgain, *dbias;  // [cols] or null
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("cols", cols);
    v.in("x", x, times(rows, cols));
    v.optIn("gain", gain, cols);
    v.in("mean", mean, rows);
    v.in("rstd", rstd, rows);
    v.in("dy", dy, times(rows, cols));
    v.out("dx", dx, times(rows, cols));
    v.optOut("dgain", dgain, cols);
    v.optOut("dbias", dbias, cols);
  }
};

// y[t] = table[ids[t]]; an id outside [0, vocab) is an OUT_OF_RANGE error of the stream
struct EmbeddingArgs {
  int64_t tokens, vocab, width;
  const int32_t* ids;  // [tokens]
  const float* table;  // [vocab, width]
  float* y;            // [tokens, width]
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.size("vocab", vocab);
    v.size("width", width);
    v.in("ids", ids, tokens);
    v.in("table", table, times(vocab, width));
    v.out("y", y, times(tokens, width));
  }
};

// dtable[v] = sum of dy[t] over tokens with ids[t] == v, in token order
struct EmbeddingBackwardArgs {
  int64_t tokens, vocab, width;
  const int32_t* ids;  // [tokens]
  const float* dy;     // [tokens, width]
  float* dtable;       // [vocab, width]
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.atMost("tokens", tokens, "the most an int32 counts", INT32_MAX);
    v.size("vocab", vocab);
    v.size("width", width);
    v.in("ids", ids, tokens);
    v.in("dy", dy, times(tokens, width));
    v.out("dtable", dtable, times(vocab, width));
  }
};

// loss = mean over rows with target != ignoreIndex of logsumexp(logits) - logits[target]
// (0 when every row is ignored). Another target outside [0, classes) is an OUT_OF_RANGE error.
struct CrossEntropyArgs {
  int64_t rows, classes, ignoreIndex;
  const float* logits;     // [rows, classes]
  const int32_t* targets;  // [rows]
  float* loss;             // [1]
  float* lse;              // [rows] logsumexp of each row
  float* counted;          // [1] number of rows that count
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("classes", classes);
    v.integer("ignoreIndex", ignoreIndex);
    v.in("logits", logits, times(rows, classes));
    v.in("targets", targets, rows);
    v.out("loss", loss, 1);
    v.out("lse", lse, rows);
    v.out("counted", counted, 1);
  }
};

struct CrossEntropyBackwardArgs {
  int64_t rows, classes, ignoreIndex;
  const float* logits;                 // [rows, classes]
  const int32_t* targets;              // [rows]
  const float *lse, *counted, *dloss;  // [rows], [1], [1]
  float* dlogits;                      // [rows, classes]
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("classes", classes);
    v.integer("ignoreIndex", ignoreIndex);
    v.in("logits", logits, times(rows, classes));
    v.in("targets", targets, rows);
    v.in("lse", lse, rows);
    v.in("counted", counted, 1);
    v.in("dloss", dloss, 1);
    v.out("dlogits", dlogits, times(rows, classes));
  }
};

// ---- products -----------------------------------------------------------------------------------

// c[i] = op(a[i]) op(b[i]) (+ bias on every row) (+ c[i] with `accumulate`), i over the batch.
// op(a) is m x k: a is [m, k], or [k, m] with transA; op(b) is k x n: b is [k, n], or [n, k] with
// transB. aStride and bStride step from one batch entry to the next (0: shared); c is [batch, m,
// n].
struct MatmulArgs {
  int64_t batch, m, n, k;
  bool transA, transB, accumulate;
  int64_t aStride, bStride;
  const float *a, *b;
  const float* bias;  // [n] or null
  float* c;           // [batch, m, n]
  template <class V>
  void fields(V& v) {
    v.size("batch", batch);
    v.size("m", m);
    v.size("n", n);
    v.size("k", k);
    v.flag("transA", transA);
    v.flag("transB", transB);
    v.flag("accumulate", accumulate);
    v.size("aStride", aStride);
    v.size("bStride", bStride);
    v.in("a", a, batch == 0 ? 0 : plus(times(batch - 1, aStride), times(m, k)));
    v.in("b", b, batch == 0 ? 0 : plus(times(batch - 1, bStride), times(k, n)));
    v.optIn("bias", bias, n);
    v.out("c", c, times(batch, m, n));
  }
};

// Two-factor einsum layer (einsum_shape.h), both stages fused.
struct EinsumArgs {
  EinsumShape shape;
  int64_t tokens;
  const float* x;     // [tokens, dIn]
  const float* a;     // [phi, delta, rho, gamma, alpha]
  const float* b;     // [phi, epsilon, rho, gamma, beta]
  const float* bias;  // [phi*epsilon*delta] or null
  float* y;           // [tokens, dOut]
  template <class V>
  void fields(V& v) {
    v.einsum("shape", shape);
    v.size("tokens", tokens);
    v.in("x", x, times(tokens, shape.dIn));
    v.in("a", a, shape.sizeA());
    v.in("b", b, shape.sizeB());
    v.optIn("bias", bias, shape.outer());
    v.out("y", y, times(tokens, shape.dOut));
  }
};

struct EinsumBackwardArgs {
  EinsumShape shape;
  int64_t tokens;
  const float *x, *a, *b;
  const float* dy;              // [tokens, dOut]
  float *dx, *da, *db, *dbias;  // shapes of x, a, b, bias; each may be null
  template <class V>
  void fields(V& v) {
    v.einsum("shape", shape);
    v.size("tokens", tokens);
    v.in("x", x, times(tokens, shape.dIn));
    v.in("a", a, shape.sizeA());
    v.in("b", b, shape.sizeB());
    v.in("dy", dy, times(tokens, shape.dOut));
    v.optOut("dx", dx, times(tokens, shape.dIn));
    v.optOut("da", da, shape.sizeA());
    v.optOut("db", db, shape.sizeB());
    v.optOut("dbias", dbias, shape.outer());
  }
};

// y = w / max(1, rms(w)/rms0) * gain, rms(w) = sqrt(mean(w^2) + eps)
struct NormalizeWeightArgs {
  int64_t count;
  float rms0, eps;
  const float* w;     // [count]
  const float* gain;  // [1] or null
  float* y;           // [count]
  float* rms;         // [1]
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("rms0", rms0);
    v.real("eps", eps);
    v.in("w", w, count);
    v.optIn("gain", gain, 1);
    v.out("y", y, count);
    v.out("rms", rms, 1);
  }
};

struct NormalizeWeightBackwardArgs {
  int64_t count;
  float rms0, eps;
  const float *w, *gain, *rms, *dy;
  float* dw;     // [count]
  float* dgain;  // [1] or null
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("rms0", rms0);
    v.real("eps", eps);
    v.in("w", w, count);
    v.optIn("gain", gain, 1);
    v.in("rms", rms, 1);
    v.in("dy", dy, count);
    v.out("dw", dw, count);
    v.optOut("dgain", dgain, 1);
  }
};

// Causal (or full) attention, o = softmax(scale * q k^T) v for every batch entry and head.
// q, k, v, o and their gradients: [batch, time, heads, headDim]; lse: [batch, heads, time].
struct AttentionArgs {
  int64_t batch, time, heads, headDim;
  float scale;
  bool causal;
  const float *q, *k, *v;
  float *o, *lse;
  template <class V>
  void fields(V& v_) {
    v_.size("batch", batch);
    v_.size("time", time);
    v_.size("heads", heads);
    v_.size("headDim", headDim);
    v_.real("scale", scale);
    v_.flag("causal", causal);
    const int64_t n = times(batch, time, heads, headDim);
    v_.in("q", q, n);
    v_.in("k", k, n);
    v_.in("v", v, n);
    v_.out("o", o, n);
    v_.out("lse", lse, times(batch, heads, time));
  }
};

struct AttentionBackwardArgs {
  int64_t batch, time, heads, headDim;
  float scale;
  bool causal;
  const float *q, *k, *v, *o, *lse, *dout;
  float *dq, *dk, *dv;
  template <class V>
  void fields(V& v_) {
    v_.size("batch", batch);
    v_.size("time", time);
    v_.size("heads", heads);
    v_.size("headDim", headDim);
    v_.real("scale", scale);
    v_.flag("causal", causal);
    const int64_t n = times(batch, time, heads, headDim);
    v_.in("q", q, n);
    v_.in("k", k, n);
    v_.in("v", v, n);
    v_.in("o", o, n);
    v_.in("lse", lse, times(batch, heads, time));
    v_.in("dout", dout, n);
    v_.out("dq", dq, n);
    v_.out("dk", dk, n);
    v_.out("dv", dv, n);
  }
};

// ---- mixture of experts
// ---------------------------------------------------------------------------

// Top-k routing. Per token: the k largest logits (ties and NaN: the lowest index first, NaN counts
// as the smallest), weight = softmax over them + weightEpsilon, in descending order of the logits.
// aux = experts * sum_e p_e f_e + 0.1 * mean over tokens of logsumexp(logits)^2, with p the softmax
// summed over tokens and L1-normalised, f (usage) the counts of positive weights, L1-normalised.
// perplexity[0] = mean over tokens of exp(entropy of the softmax), [1] = exp(entropy of p).
struct MoeRouteArgs {
  int64_t tokens, experts, k;
  float weightEpsilon;
  const float* logits;  // [tokens, experts]
  int32_t* index;       // [tokens, k]
  float* weight;        // [tokens, k]
  float* probs;         // [tokens, experts] softmax over all experts
  float* lse;           // [tokens]
  float* usage;         // [experts]
  float* aux;           // [1]
  float* perplexity;    // [2]
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.size("experts", experts);
    v.size("k", k);
    v.atMost("k", k, "experts", experts);
    v.real("weightEpsilon", weightEpsilon);
    v.in("logits", logits, times(tokens, experts));
    v.out("index", index, times(tokens, k));
    v.out("weight", weight, times(tokens, k));
    v.out("probs", probs, times(tokens, experts));
    v.out("lse", lse, tokens);
    v.out("usage", usage, experts);
    v.out("aux", aux, 1);
    v.out("perplexity", perplexity, 2);
  }
};

struct MoeRouteBackwardArgs {
  int64_t tokens, experts, k;
  float weightEpsilon;
  const int32_t* index;                       // [tokens, k]
  const float *weight, *probs, *lse, *usage;  // as the forward left them
  const float* dweight;                       // [tokens, k] or null
  const float* daux;                          // [1] or null
  float* dlogits;                             // [tokens, experts]
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.size("experts", experts);
    v.size("k", k);
    v.atMost("k", k, "experts", experts);
    v.real("weightEpsilon", weightEpsilon);
    v.in("index", index, times(tokens, k));
    v.in("weight", weight, times(tokens, k));
    v.in("probs", probs, times(tokens, experts));
    v.in("lse", lse, tokens);
    v.in("usage", usage, experts);
    v.optIn("dweight", dweight, times(tokens, k));
    v.optIn("daux", daux, 1);
    v.out("dlogits", dlogits, times(tokens, experts));
  }
};

// BTT-MoE: the einsum of `shape` (beta = delta = 1, rho = experts) whose rank slice e counts for a
// token with that token's weight for e: zero unless e is among its k chosen. Only those are
// computed.
struct BttMoeArgs {
  EinsumShape shape;
  int64_t tokens, k;
  const float* x;        // [tokens, dIn]
  const float* a;        // [phi, 1, rho, gamma, alpha]
  const float* b;        // [phi, epsilon, rho, gamma, 1]
  const int32_t* index;  // [tokens, k], distinct in a row, in [0, rho)
  const float* weight;   // [tokens, k]
  const float* bias;     // [phi*epsilon] or null
  float* y;              // [tokens, dOut]
  template <class V>
  void fields(V& v) {
    v.einsum("shape", shape);
    v.exactly("beta", shape.beta, 1);
    v.exactly("delta", shape.delta, 1);
    v.size("tokens", tokens);
    v.size("k", k);
    v.atMost("k", k, "experts", shape.rho);
    v.atMost("tokens * k", times(tokens, k), "the most an int32 counts", INT32_MAX);
    v.in("x", x, times(tokens, shape.dIn));
    v.in("a", a, shape.sizeA());
    v.in("b", b, shape.sizeB());
    v.in("index", index, times(tokens, k));
    v.in("weight", weight, times(tokens, k));
    v.optIn("bias", bias, shape.outer());
    v.out("y", y, times(tokens, shape.dOut));
  }
};

struct BttMoeBackwardArgs {
  EinsumShape shape;
  int64_t tokens, k;
  const float *x, *a, *b;
  const int32_t* index;
  const float* weight;
  const float* dy;                        // [tokens, dOut]
  float *dx, *da, *db, *dweight, *dbias;  // shapes of x, a, b, weight, bias; each may be null
  template <class V>
  void fields(V& v) {
    v.einsum("shape", shape);
    v.exactly("beta", shape.beta, 1);
    v.exactly("delta", shape.delta, 1);
    v.size("tokens", tokens);
    v.size("k", k);
    v.atMost("k", k, "experts", shape.rho);
    v.atMost("tokens * k", times(tokens, k), "the most an int32 counts", INT32_MAX);
    v.in("x", x, times(tokens, shape.dIn));
    v.in("a", a, shape.sizeA());
    v.in("b", b, shape.sizeB());
    v.in("index", index, times(tokens, k));
    v.in("weight", weight, times(tokens, k));
    v.in("dy", dy, times(tokens, shape.dOut));
    v.optOut("dx", dx, times(tokens, shape.dIn));
    v.optOut("da", da, shape.sizeA());
    v.optOut("db", db, shape.sizeB());
    v.optOut("dweight", dweight, times(tokens, k));
    v.optOut("dbias", dbias, shape.outer());
  }
};

// Stable counting sort of the tokens*k (token, slot) pairs by expert. pair = token * k + slot.
struct MoeSortArgs {
  int64_t tokens, k, experts;
  const int32_t* index;  // [tokens, k]
  int32_t* order;        // [tokens*k] pair at each sorted row
  int32_t* position;     // [tokens*k] sorted row of each pair
  int32_t* offsets;      // [experts+1] first sorted row of each expert
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.size("k", k);
    v.size("experts", experts);
    v.atMost("tokens * k", times(tokens, k), "the most an int32 counts", INT32_MAX);
    v.in("index", index, times(tokens, k));
    v.out("order", order, times(tokens, k));
    v.out("position", position, times(tokens, k));
    v.out("offsets", offsets, experts + 1);
  }
};

// y[r] = x[order[r] / k], r over tokens*k sorted rows
struct MoeGatherArgs {
  int64_t tokens, k, cols;
  const float* x;        // [tokens, cols]
  const int32_t* order;  // [tokens*k]
  float* y;              // [tokens*k, cols]
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.size("k", k);
    v.size("cols", cols);
    v.in("x", x, times(tokens, cols));
    v.in("order", order, times(tokens, k));
    v.out("y", y, times(tokens, k, cols));
  }
};

// y[t] = sum over slots j of weight[t, j] * rows[position[t*k + j]]; weight null means all ones
// (which is the backward of the gather)
struct MoeCombineArgs {
  int64_t tokens, k, cols;
  const float* rows;        // [tokens*k, cols]
  const int32_t* position;  // [tokens*k]
  const float* weight;      // [tokens, k] or null
  float* y;                 // [tokens, cols]
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.size("k", k);
    v.size("cols", cols);
    v.in("rows", rows, times(tokens, k, cols));
    v.in("position", position, times(tokens, k));
    v.optIn("weight", weight, times(tokens, k));
    v.out("y", y, times(tokens, cols));
  }
};

// drows[position[t*k+j]] = weight[t, j] * dy[t]; dweight[t, j] = <dy[t], rows[position[t*k+j]]>
struct MoeCombineBackwardArgs {
  int64_t tokens, k, cols;
  const float* rows;
  const int32_t* position;
  const float *weight, *dy;
  float* drows;    // [tokens*k, cols]
  float* dweight;  // [tokens, k]
  template <class V>
  void fields(V& v) {
    v.size("tokens", tokens);
    v.size("k", k);
    v.size("cols", cols);
    v.in("rows", rows, times(tokens, k, cols));
    v.in("position", position, times(tokens, k));
    v.in("weight", weight, times(tokens, k));
    v.in("dy", dy, times(tokens, cols));
    v.out("drows", drows, times(tokens, k, cols));
    v.out("dweight", dweight, times(tokens, k));
  }
};

// Rows offsets[e] .. offsets[e+1] go through expert e: y = x w[e]^T + bias[e]
struct GroupedLinearArgs {
  int64_t rows, experts, n, k;
  const int32_t* offsets;  // [experts+1]
  const float* x;          // [rows, k]
  const float* w;          // [experts, n, k]
  const float* bias;       // [experts, n] or null
  float* y;                // [rows, n]
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("experts", experts);
    v.size("n", n);
    v.size("k", k);
    v.in("offsets", offsets, experts + 1);
    v.in("x", x, times(rows, k));
    v.in("w", w, times(experts, n, k));
    v.optIn("bias", bias, times(experts, n));
    v.out("y", y, times(rows, n));
  }
};

struct GroupedLinearBackwardArgs {
  int64_t rows, experts, n, k;
  const int32_t* offsets;
  const float *x, *w;
  const float* dy;         // [rows, n]
  float *dx, *dw, *dbias;  // shapes of x, w, bias; each may be null; an empty expert's dw is 0
  template <class V>
  void fields(V& v) {
    v.size("rows", rows);
    v.size("experts", experts);
    v.size("n", n);
    v.size("k", k);
    v.in("offsets", offsets, experts + 1);
    v.in("x", x, times(rows, k));
    v.in("w", w, times(experts, n, k));
    v.in("dy", dy, times(rows, n));
    v.optOut("dx", dx, times(rows, k));
    v.optOut("dw", dw, times(experts, n, k));
    v.optOut("dbias", dbias, times(experts, n));
  }
};

// ---- optimisers
// ------------------------------------------------------------------------------------

// Adam with decoupled (AdamW: p *= 1 - lr*decay first) or coupled (Adam: g += decay*p) weight
// decay. lr already holds the parameter's multiplier; correction1 = 1 - beta1^step, correction2
// likewise. p -= lr * (m/correction1) / (sqrt(v/correction2) + eps)
struct AdamArgs {
  int64_t count;
  // Doubles: 1 - beta would lose its last digits in a float.
  double lr, beta1, beta2, eps, decay, correction1, correction2;
  bool decoupled;
  const float* g;          // [count]
  const float* gradScale;  // [1] or null: factor on g (clipping)
  float *p, *m, *v;        // [count], read and written
  template <class V>
  void fields(V& v_) {
    v_.size("count", count);
    v_.real("lr", lr);
    v_.real("beta1", beta1);
    v_.real("beta2", beta2);
    v_.real("eps", eps);
    v_.real("decay", decay);
    v_.real("correction1", correction1);
    v_.real("correction2", correction2);
    v_.flag("decoupled", decoupled);
    v_.in("g", g, count);
    v_.optIn("gradScale", gradScale, 1);
    v_.out("p", p, count);
    v_.out("m", m, count);
    v_.out("v", v, count);
  }
};

// g' = g*gradScale + decay*p; with momentum: buf = first ? g' : momentum*buf + g'; step along
// nesterov ? g' + momentum*buf : buf; p -= lr * step
struct SgdArgs {
  int64_t count;
  float lr, momentum, decay;
  bool nesterov, first;
  const float* g;
  const float* gradScale;  // [1] or null
  float* p;                // [count], read and written
  float* buf;              // [count] or null (no momentum), read and written
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("lr", lr);
    v.real("momentum", momentum);
    v.real("decay", decay);
    v.flag("nesterov", nesterov);
    v.flag("first", first);
    v.in("g", g, count);
    v.optIn("gradScale", gradScale, 1);
    v.out("p", p, count);
    v.optOut("buf", buf, count);
  }
};

// y[slot] = sum of x^2 (accumulated in double, in fixed blocks)
struct SumSquaresArgs {
  int64_t count, slot;
  const float* x;  // [count]
  float* y;        // [> slot], other slots untouched
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.size("slot", slot);
    v.in("x", x, count);
    v.out("y", y, slot + 1);
  }
};

// norm = sqrt(sum of squares[0..count)); scale = min(1, maxNorm / (norm + 1e-6))
struct ClipScaleArgs {
  int64_t count;
  float maxNorm;
  const float* squares;  // [count]
  float *norm, *scale;   // [1]
  template <class V>
  void fields(V& v) {
    v.size("count", count);
    v.real("maxNorm", maxNorm);
    v.in("squares", squares, count);
    v.out("norm", norm, 1);
    v.out("scale", scale, 1);
  }
};

// Every op: X(name in JavaScript and in the table, argument struct)
#define EINLINEAR_OPS(X)                                  \
  X(fill, FillArgs)                                       \
  X(stridedCopy, StridedCopyArgs)                         \
  X(unary, UnaryArgs)                                     \
  X(unaryBackward, UnaryBackwardArgs)                     \
  X(binary, BinaryArgs)                                   \
  X(affine, AffineArgs)                                   \
  X(axpy, AxpyArgs)                                       \
  X(random, RandomArgs)                                   \
  X(dropout, DropoutArgs)                                 \
  X(reduce, ReduceArgs)                                   \
  X(softmax, SoftmaxArgs)                                 \
  X(softmaxBackward, SoftmaxBackwardArgs)                 \
  X(layerNorm, LayerNormArgs)                             \
  X(layerNormBackward, LayerNormBackwardArgs)             \
  X(embedding, EmbeddingArgs)                             \
  X(embeddingBackward, EmbeddingBackwardArgs)             \
  X(crossEntropy, CrossEntropyArgs)                       \
  X(crossEntropyBackward, CrossEntropyBackwardArgs)       \
  X(matmul, MatmulArgs)                                   \
  X(einsum, EinsumArgs)                                   \
  X(einsumBackward, EinsumBackwardArgs)                   \
  X(normalizeWeight, NormalizeWeightArgs)                 \
  X(normalizeWeightBackward, NormalizeWeightBackwardArgs) \
  X(attention, AttentionArgs)                             \
  X(attentionBackward, AttentionBackwardArgs)             \
  X(moeRoute, MoeRouteArgs)                               \
  X(moeRouteBackward, MoeRouteBackwardArgs)               \
  X(bttMoe, BttMoeArgs)                                   \
  X(bttMoeBackward, BttMoeBackwardArgs)                   \
  X(moeSort, MoeSortArgs)                                 \
  X(moeGather, MoeGatherArgs)                             \
  X(moeCombine, MoeCombineArgs)                           \
  X(moeCombineBackward, MoeCombineBackwardArgs)           \
  X(groupedLinear, GroupedLinearArgs)                     \
  X(groupedLinearBackward, GroupedLinearBackwardArgs)     \
  X(adam, AdamArgs)                                       \
  X(sgd, SgdArgs)                                         \
  X(sumSquares, SumSquaresArgs)                           \
  X(clipScale, ClipScaleArgs)

class Context;  // what an op runs with: threads and scratch (context.h of the backend)

struct OpTable {
#define EINLINEAR_OP_MEMBER(name, Args) void (*name)(Context&, const Args&);
  EINLINEAR_OPS(EINLINEAR_OP_MEMBER)
#undef EINLINEAR_OP_MEMBER
};

}  // namespace einlinear
