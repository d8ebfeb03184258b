// Sums and extremes of many numbers: accurate, and cut by length alone.
//
// Numbers are folded in single precision in blocks short enough for no digit to matter, and the
// blocks in double precision, in order.
#pragma once

#include "vectors.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

struct Sum {
  static constexpr float kIdentity = 0.0f;
  template <class T>
  static inline T join(T a, T b) {
    return a + b;
  }
  static inline Vec join(Vec a, Vec b) { return a + b; }
};

struct Max {
  static constexpr float kIdentity = -kInfinity;
  template <class T>
  static inline T join(T a, T b) {
    return ((b > a) | (b != b)) ? b : a;  // a NaN wins, and stays
  }
  static inline Vec join(Vec a, Vec b) { return ((b > a) | (b != b)) ? b : a; }
};

struct Min {
  static constexpr float kIdentity = kInfinity;
  template <class T>
  static inline T join(T a, T b) {
    return ((b < a) | (b != b)) ? b : a;
  }
  static inline Vec join(Vec a, Vec b) { return ((b < a) | (b != b)) ? b : a; }
};

template <class Kind, int Half>
static inline Vec foldHalves(Vec v) {
  IVec other;
  for (int i = 0; i < kWidth; ++i) other[i] = i ^ Half;
  v = Kind::join(v, shuffle(v, v, other));
  if constexpr (Half > 1) v = foldHalves<Kind, Half / 2>(v);
  return v;
}

template <class Kind>
static inline float foldLanes(Vec v) {
  return foldHalves<Kind, kWidth / 2>(v)[0];
}

// Fold of term(i, part) over the vectors of [begin, end).
template <class Kind, class Term>
static inline double fold(int64_t begin, int64_t end, const Term& term) {
  constexpr int64_t block = 128 * kWidth;
  double total = Kind::kIdentity;
  for (int64_t from = begin; from < end; from += block) {
    const int64_t to = minOf(from + block, end);
    Vec all = splat(Kind::kIdentity);
    int64_t i = from;
    if (i + 4 * kWidth <= to) {
      Vec acc[4];
      for (int u = 0; u < 4; ++u) acc[u] = term(i + u * kWidth, Whole{});
      for (i += 4 * kWidth; i + 4 * kWidth <= to; i += 4 * kWidth)
        for (int u = 0; u < 4; ++u) acc[u] = Kind::join(acc[u], term(i + u * kWidth, Whole{}));
      all = Kind::join(Kind::join(acc[0], acc[1]), Kind::join(acc[2], acc[3]));
    }
    for (; i + kWidth <= to; i += kWidth) all = Kind::join(all, term(i, Whole{}));
    if (i < to) {
      const Part part{static_cast<int>(to - i)};
      all = Kind::join(all, part.only(term(i, part), Kind::kIdentity));
    }
    total = Kind::join(total, static_cast<double>(foldLanes<Kind>(all)));
  }
  return total;
}

static inline double foldInOrder(const double* x, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += x[i];
  return total;
}

// Sum of term(i, part) over the vectors of [0, count), on the context's threads.
template <class Term>
static inline double parallelSum(Context& context, int64_t count, int slot, const Term& term) {
  double* partial = reinterpret_cast<double*>(context.scratch(slot, 2 * ceilDiv(count, kChunk)));
  context.blocks(count, kChunk, [&](int64_t begin, int64_t end) {
    partial[begin / kChunk] = fold<Sum>(begin, end, term);
  });
  return foldInOrder(partial, ceilDiv(count, kChunk));
}

// y[o, i] = finish(fold of x[o, l, i] over l), x being [outer, length, inner]. Uses scratch `slot`.
template <class Kind, class Finish>
static inline void foldColumns(Context& context, int64_t outer, int64_t length, int64_t inner,
                               const float* x, float* y, int slot, const Finish& finish) {
  if (outer == 0 || inner == 0) return;
  constexpr int64_t kColumns = 512, kRows = 32;
  const int64_t width = minOf(inner, kColumns), pieces = ceilDiv(inner, kColumns);
  const int64_t rows = kRows * maxOf(1, kChunk / (kRows * width));
  const int64_t cuts = maxOf(1, ceilDiv(length, rows));
  double* partial = nullptr;
  if (cuts > 1)
    partial = reinterpret_cast<double*>(context.scratch(slot, 2 * outer * cuts * inner));
  const int64_t together = maxOf(1, kChunk / maxOf(1, minOf(rows, length) * width));
  context.blocks(outer * cuts * pieces, together, [&](int64_t first, int64_t last) {
    float acc[kColumns];
    double total[kColumns];
    for (int64_t task = first; task < last; ++task) {
      const int64_t column = task % pieces * kColumns, n = minOf(kColumns, inner - column);
      const int64_t cut = task / pieces % cuts, o = task / pieces / cuts;
      const int64_t end = minOf(length, (cut + 1) * rows);
      for (int64_t i = 0; i < n; ++i) total[i] = Kind::kIdentity;
      for (int64_t from = cut * rows; from < end; from += kRows) {
        const int64_t to = minOf(from + kRows, end);
        const float* row = x + (o * length + from) * inner + column;
        vectors(0, n, [&](int64_t i, auto part) {
          Vec v = part.get(row + i);
          for (int64_t l = 1; l < to - from; ++l) v = Kind::join(v, part.get(row + l * inner + i));
          part.put(acc + i, v);
        });
        for (int64_t i = 0; i < n; ++i)
          total[i] = Kind::join(total[i], static_cast<double>(acc[i]));
      }
      if (cuts > 1) {
        double* out = partial + (o * cuts + cut) * inner + column;
        for (int64_t i = 0; i < n; ++i) out[i] = total[i];
      } else {
        float* out = y + o * inner + column;
        for (int64_t i = 0; i < n; ++i) out[i] = finish(total[i]);
      }
    }
  });
  if (cuts == 1) return;
  context.blocks(outer * inner, maxOf(1, kChunk / cuts), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      const double* column = partial + at / inner * cuts * inner + at % inner;
      double total = Kind::kIdentity;
      for (int64_t cut = 0; cut < cuts; ++cut) total = Kind::join(total, column[cut * inner]);
      y[at] = finish(total);
    }
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
