// The fused two-stage einsum on one tile of kLanes tokens, shared by einsum and bttMoe.
//
// In the order the plan chose, the first factor F and the second factor S give
//
//   z[p, d, r, g, b] = sum over a of F[p, d, r, g, a] * x[g, b, a]
//   y[p, e, d]       = sum over r, g, b of S[p, e, r, g, b] * z[p, d, r, g, b]
//
// where (a, b, e, d) is (alpha, beta, epsilon, delta) with A first, or (beta, alpha, delta,
// epsilon) with B first. Everything lives in lane tiles (transpose.h): each index combination is a
// row of kLanes tokens, so the shuffle between the stages is free. z is made for a few p at a time,
// small enough for the cache, and never stored to memory.
//
// A row of z over (g, b) is padded by one where its length would map all rows to one cache set;
// S has zero weights there and z zero rows.
#pragma once

#include <cstring>

#include "../../core/einsum_shape.h"
#include "../context.h"
#include "gemm.h"
#include "microkernel.h"
#include "transpose.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

constexpr int64_t kTileFloats = int64_t{64} << 10;  // z of a group of p: 256 KiB

struct EinsumPlan {
  int64_t g, b, a, p, d, e, r;  // sizes, in the chosen order
  int64_t xg, xb, xa;           // strides of x's features
  int64_t yp, ye, yd;           // strides of y's features
  int64_t dIn, dOut, inner, outer;
  int64_t
      fullRank;   // ranks in the stored factors; r of them from `firstRank` on belong to this plan
  int64_t gb;     // padded length of a row of z over (g, b)
  int64_t depth;  // r * gb: depth of the second stage
  int64_t group;  // p in a group
  int64_t groups;

  EinsumPlan(const EinsumShape& s, bool mirrored, int64_t ranks)
      : g(s.gamma),
        b(mirrored ? s.alpha : s.beta),
        a(mirrored ? s.beta : s.alpha),
        p(s.phi),
        d(mirrored ? s.epsilon : s.delta),
        e(mirrored ? s.delta : s.epsilon),
        r(ranks),
        xg(s.beta * s.alpha),
        xb(mirrored ? 1 : s.alpha),
        xa(mirrored ? s.alpha : 1),
        yp(s.epsilon * s.delta),
        ye(mirrored ? 1 : s.delta),
        yd(mirrored ? s.delta : 1),
        dIn(s.dIn),
        dOut(s.dOut),
        inner(s.inner()),
        outer(s.outer()),
        fullRank(s.rho),
        gb(g * b % 32 == 0 ? g * b + 1 : g * b),
        depth(r * gb) {
    group = maxOf(1, minOf(p, kTileFloats / maxOf(1, d * depth * kLanes)));
    groups = ceilDiv(p, group);
  }

  int64_t groupFirst(int64_t q) const { return q * group; }
  int64_t groupSize(int64_t q) const { return minOf(group, p - q * group); }
  int64_t zFloats() const { return group * d * depth * kLanes; }
  int64_t featuresIn() const { return minOf(dIn, inner); }
  int64_t featuresOut() const { return minOf(dOut, outer); }

  // Packed weights, in floats, and where a part begins.
  int64_t firstSize() const { return p * d * r * g * a; }
  int64_t firstOffset(int64_t q, int64_t gamma) const {
    return (groupFirst(q) * g + gamma * groupSize(q)) * d * r * a;
  }
  int64_t secondSize() const { return p * e * depth; }
  int64_t secondOffset(int64_t phi) const { return phi * e * depth; }

  // Partial gradients: [group, g, a, rows of the group padded] and [p, e, depth padded].
  int64_t firstRows() const { return roundUp(group * d * r); }
  int64_t firstGradient() const { return groups * g * a * firstRows(); }
  int64_t secondRows() const { return roundUp(depth); }
  int64_t secondGradient() const { return p * e * secondRows(); }
};

// The factors, repacked for the products of one pass. Pointers may be null where a pass has no use.
struct PackedFactors {
  float* first = nullptr;       // stage 1:            per (group, g): W[a, rows (p, d, r)]
  float* second = nullptr;      // stage 2:            per p:          W[(r, g, b), rows e]
  float* secondBack = nullptr;  // dz = S^T dy:       per p:          W[e, rows (r, g, b)]
  float* firstBack = nullptr;   // dx = F^T dz:       per (group, g): W[rows (p, d, r), rows a]
};

// Packs ranks [rank, rank + plan.r) of the factors; task in [0, packTasks(plan)).
static inline int64_t packTasks(const EinsumPlan& plan) { return plan.groups * plan.g + plan.p; }

static inline void packFactors(const EinsumPlan& plan, const float* f, const float* s, int64_t rank,
                               const PackedFactors& to, int64_t task) {
  if (task < plan.groups * plan.g) {
    const int64_t q = task / plan.g, gamma = task % plan.g;
    const int64_t rows = plan.groupSize(q) * plan.d * plan.r;
    const int64_t row = plan.g * plan.a;  // one (p, d, rho) of F
    // Row i = (pd, r) of the group lies at ((groupFirst*d + pd) * fullRank + rank + r) * row.
    const float* base =
        f + (plan.groupFirst(q) * plan.d * plan.fullRank + rank) * row + gamma * plan.a;
    const auto rowOf = [&](int64_t i) {
      return base + (i / plan.r * plan.fullRank + i % plan.r) * row;
    };
    if (to.first != nullptr) {
      float* out = to.first + plan.firstOffset(q, gamma);
      const Panels panels(rows);
      for (int64_t n = 0; n < panels.count; ++n) {
        const int64_t first = panels.first(n), size = panels.size(n);
        float* w = out + first * plan.a;
        if (plan.r == plan.fullRank || plan.r == 1) {
          packPanel(rowOf(first), plan.r == 1 ? plan.fullRank * row : row, 1, size, plan.a, w);
          continue;
        }
        for (int64_t i = 0; i < size; ++i)
          for (int64_t k = 0; k < plan.a; ++k) w[k * size + i] = rowOf(first + i)[k];
      }
    }
    if (to.firstBack != nullptr) {
      float* out = to.firstBack + plan.firstOffset(q, gamma);
      const Panels panels(plan.a);
      for (int64_t n = 0; n < panels.count; ++n) {
        const int64_t first = panels.first(n), size = panels.size(n);
        float* w = out + first * rows;
        for (int64_t i = 0; i < rows; ++i)
          std::memcpy(w + i * size, rowOf(i) + first, static_cast<size_t>(size) * 4);
      }
    }
    return;
  }
  const int64_t phi = task - plan.groups * plan.g;
  const int64_t columns = plan.g * plan.b;
  // S[phi, eps, rank + r, column]
  const auto at = [&](int64_t eps, int64_t r) {
    return s + ((phi * plan.e + eps) * plan.fullRank + rank + r) * columns;
  };
  if (to.second != nullptr) {
    float* out = to.second + plan.secondOffset(phi);
    const Panels panels(plan.e);
    for (int64_t n = 0; n < panels.count; ++n) {
      const int64_t first = panels.first(n), size = panels.size(n);
      float* w = out + first * plan.depth;
      for (int64_t r = 0; r < plan.r; ++r, w += plan.gb * size) {
        packPanel(at(first, r), plan.fullRank * columns, 1, size, columns, w);
        if (plan.gb > columns) std::memset(w + columns * size, 0, static_cast<size_t>(size) * 4);
      }
    }
  }
  if (to.secondBack != nullptr) {
    float* out = to.secondBack + plan.secondOffset(phi);
    const Panels panels(plan.depth);
    for (int64_t n = 0; n < panels.count; ++n) {
      const int64_t first = panels.first(n), size = panels.size(n);
      float* w = out + first * plan.e;
      for (int64_t eps = 0; eps < plan.e; ++eps, w += size) {
        for (int64_t i = 0; i < size; ++i) {
          const int64_t r = (first + i) / plan.gb, column = (first + i) % plan.gb;
          w[i] = column < columns ? at(eps, r)[column] : 0.0f;
        }
      }
    }
  }
}

// Clears rows [from, to) of a tile.
static inline void zeroRows(float* tile, int64_t from, int64_t to) {
  if (to > from)
    std::memset(tile + from * kLanes, 0, static_cast<size_t>(to - from) * kLanes * sizeof(float));
}

// Lanes that a product has to touch for `count` tokens.
static inline int64_t lanesFor(int count) { return roundUp(count); }

// Stage 1 for group q: z from the input tile xt [inner, kLanes].
static inline void stageOne(const EinsumPlan& plan, const float* first, int64_t q, const float* xt,
                            int count, float* z) {
  const Panels panels(plan.groupSize(q) * plan.d * plan.r);
  for (int64_t gamma = 0; gamma < plan.g; ++gamma)
    for (int64_t b = 0; b < plan.b; ++b)
      product(panels, {first + plan.firstOffset(q, gamma), 0}, plan.a,
              xt + (gamma * plan.xg + b * plan.xb) * kLanes, plan.xa * kLanes, lanesFor(count),
              z + (gamma * plan.b + b) * kLanes, plan.gb * kLanes, false);
  if (plan.gb == plan.g * plan.b) return;
  for (int64_t i = 0; i < panels.rows; ++i)
    std::memset(z + (i * plan.gb + plan.gb - 1) * kLanes, 0, kLanes * sizeof(float));
}

// Stage 2 for group q: rows of the output tile yt [outer, kLanes] from z.
static inline void stageTwo(const EinsumPlan& plan, const float* second, int64_t q, const float* z,
                            int count, float* yt) {
  const Panels panels(plan.e);
  for (int64_t i = 0; i < plan.groupSize(q); ++i) {
    const int64_t phi = plan.groupFirst(q) + i;
    for (int64_t d = 0; d < plan.d; ++d)
      product(panels, {second + plan.secondOffset(phi), 0}, plan.depth,
              z + (i * plan.d + d) * plan.depth * kLanes, kLanes, lanesFor(count),
              yt + (phi * plan.yp + d * plan.yd) * kLanes, plan.ye * kLanes, false);
  }
}

// dz of group q from the output gradient's tile dyt [outer, kLanes]; laid out as z.
static inline void stageTwoBack(const EinsumPlan& plan, const float* secondBack, int64_t q,
                                const float* dyt, int count, float* dz) {
  const Panels panels(plan.depth);
  for (int64_t i = 0; i < plan.groupSize(q); ++i) {
    const int64_t phi = plan.groupFirst(q) + i;
    for (int64_t d = 0; d < plan.d; ++d)
      product(panels, {secondBack + plan.secondOffset(phi), 0}, plan.e,
              dyt + (phi * plan.yp + d * plan.yd) * kLanes, plan.ye * kLanes, lanesFor(count),
              dz + (i * plan.d + d) * plan.depth * kLanes, kLanes, false);
  }
}

// Adds group q's part to the input gradient's tile dxt [inner, kLanes] (sets it for the first
// group).
static inline void stageOneBack(const EinsumPlan& plan, const float* firstBack, int64_t q,
                                const float* dz, int count, float* dxt) {
  const Panels panels(plan.a);
  for (int64_t gamma = 0; gamma < plan.g; ++gamma)
    for (int64_t b = 0; b < plan.b; ++b)
      product(panels, {firstBack + plan.firstOffset(q, gamma), 0},
              plan.groupSize(q) * plan.d * plan.r, dz + (gamma * plan.b + b) * kLanes,
              plan.gb * kLanes, lanesFor(count), dxt + (gamma * plan.xg + b * plan.xb) * kLanes,
              plan.xa * kLanes, q > 0);
}

// Floats that gradients of the factors need for token-major copies.
static inline int64_t gradientScratch(const EinsumPlan& plan) {
  return kLanes * (rowStride(maxOf(plan.a, plan.e)) +
                   rowStride(maxOf(plan.depth, plan.group * plan.d * plan.r)));
}

// dS += dy^T z over the tile's tokens, group q, into [p, e, depth padded].
static inline void secondGradient(const EinsumPlan& plan, int64_t q, const float* dyt,
                                  const float* z, int count, float* scratch, float* ds) {
  const int64_t ws = rowStride(plan.e), vs = rowStride(plan.depth), row = plan.secondRows();
  float *w = scratch, *v = scratch + kLanes * ws;
  const Panels panels(plan.e);
  for (int64_t i = 0; i < plan.groupSize(q); ++i) {
    const int64_t phi = plan.groupFirst(q) + i;
    for (int64_t d = 0; d < plan.d; ++d) {
      tileToTokens(dyt + (phi * plan.yp + d * plan.yd) * kLanes, plan.ye * kLanes, plan.e, w, ws);
      tileToTokens(z + (i * plan.d + d) * plan.depth * kLanes, kLanes, plan.depth, v, vs);
      product(panels, {w, ws}, count, v, vs, row, ds + phi * plan.e * row, row, true);
    }
  }
}

// dF += x^T dz over the tile's tokens, group q, into [group, g, a, rows padded].
static inline void firstGradient(const EinsumPlan& plan, int64_t q, const float* xt,
                                 const float* dz, int count, float* scratch, float* df) {
  const int64_t rows = plan.groupSize(q) * plan.d * plan.r, row = plan.firstRows();
  const int64_t ws = rowStride(plan.a), vs = rowStride(plan.group * plan.d * plan.r);
  float *w = scratch, *v = scratch + kLanes * ws;
  const Panels panels(plan.a);
  for (int64_t gamma = 0; gamma < plan.g; ++gamma) {
    for (int64_t b = 0; b < plan.b; ++b) {
      tileToTokens(xt + (gamma * plan.xg + b * plan.xb) * kLanes, plan.xa * kLanes, plan.a, w, ws);
      tileToTokens(dz + (gamma * plan.b + b) * kLanes, plan.gb * kLanes, rows, v, vs);
      product(panels, {w, ws}, count, v, vs, roundUp(rows),
              df + ((q * plan.g + gamma) * plan.a) * row, row, true);
    }
  }
}

// Adds `parts` partial gradients (each firstGradient() + secondGradient() floats, `stride` apart)
// in order and writes ranks [rank, rank + r) of the factors' gradients; task in [0,
// packTasks(plan)). df, ds: null to skip.
static inline void reduceGradients(const EinsumPlan& plan, const float* partial, int64_t parts,
                                   int64_t stride, int64_t rank, float* df, float* ds,
                                   int64_t task) {
  if (task < plan.groups * plan.g) {
    if (df == nullptr) return;
    const int64_t q = task / plan.g, gamma = task % plan.g, row = plan.firstRows();
    const int64_t rows = plan.groupSize(q) * plan.d * plan.r;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t pd = plan.groupFirst(q) * plan.d + i / plan.r;
      float* out = df + ((pd * plan.fullRank + rank + i % plan.r) * plan.g + gamma) * plan.a;
      for (int64_t a = 0; a < plan.a; ++a) {
        const float* in = partial + ((q * plan.g + gamma) * plan.a + a) * row + i;
        float total = 0;
        for (int64_t n = 0; n < parts; ++n) total += in[n * stride];
        out[a] = total;
      }
    }
    return;
  }
  if (ds == nullptr) return;
  const int64_t phi = task - plan.groups * plan.g, columns = plan.g * plan.b;
  for (int64_t eps = 0; eps < plan.e; ++eps) {
    for (int64_t r = 0; r < plan.r; ++r) {
      const float* in =
          partial + plan.firstGradient() + (phi * plan.e + eps) * plan.secondRows() + r * plan.gb;
      float* out = ds + ((phi * plan.e + eps) * plan.fullRank + rank + r) * columns;
      for (int64_t column = 0; column < columns; ++column) {
        float total = 0;
        for (int64_t n = 0; n < parts; ++n) total += in[n * stride + column];
        out[column] = total;
      }
    }
  }
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
