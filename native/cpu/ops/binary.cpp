// binary: y = f(a, b) with broadcasting, 12 bytes an element when both operands are full.
//
// Axes are merged as far as both operands allow, so that equal shapes, a scalar, a row (repeated
// over rows) and a column (repeated along rows) all become runs of a vector or a constant.
#include "ops.h"
#include "strided_loop.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

struct Add {
  static inline Vec value(Vec a, Vec b) { return a + b; }
};
struct Subtract {
  static inline Vec value(Vec a, Vec b) { return a - b; }
};
struct Multiply {
  static inline Vec value(Vec a, Vec b) { return a * b; }
};
struct Divide {
  static inline Vec value(Vec a, Vec b) { return a / b; }
};
// A NaN on either side is the result: as `a` by the second test, as `b` because no test holds.
struct Maximum {
  static inline Vec value(Vec a, Vec b) { return ((a > b) | (a != a)) ? a : b; }
};
struct Minimum {
  static inline Vec value(Vec a, Vec b) { return ((a < b) | (a != a)) ? a : b; }
};
struct Greater {
  static inline Vec value(Vec a, Vec b) { return a > b ? splat(1.0f) : Vec{}; }
};
struct Equal {
  static inline Vec value(Vec a, Vec b) { return a == b ? splat(1.0f) : Vec{}; }
};

// How an operand goes along a run.
struct Along {
  const float* p;
  template <class P>
  inline Vec get(int64_t i, P part) const {
    return part.get(p + i);
  }
};
struct Constant {
  Vec value;
  template <class P>
  inline Vec get(int64_t, P) const {
    return value;
  }
};
struct Strided {
  const float* p;
  int64_t stride;
  inline Vec get(int64_t i, Whole) const { return lanes(i, kWidth); }
  inline Vec get(int64_t i, Part part) const { return lanes(i, part.count); }

 private:
  inline Vec lanes(int64_t i, int n) const {
    Vec v = {};
    for (int lane = 0; lane < n; ++lane) v[lane] = p[(i + lane) * stride];
    return v;
  }
};

template <class Kind, class A, class B>
inline void runOf(A a, B b, float* y, int64_t n) {
  vectors(0, n, [&](int64_t i, auto part) {
    part.put(y + i, Kind::value(a.get(i, part), b.get(i, part)));
  });
}

template <class Kind>
void apply(Context& context, const BinaryArgs& args, const StridedLoop<3>& loop) {
  const int last = loop.rank - 1;
  const int64_t aStride = last < 0 ? 0 : loop.stride[0][last];
  const int64_t bStride = last < 0 ? 0 : loop.stride[1][last];
  loop.run(context, [&](const int64_t(&at)[3], int64_t n) {
    const float *a = args.a + at[0], *b = args.b + at[1];
    float* y = args.y + at[2];
    if (aStride == 1 && bStride == 1)
      runOf<Kind>(Along{a}, Along{b}, y, n);
    else if (aStride == 1 && bStride == 0)
      runOf<Kind>(Along{a}, Constant{splat(*b)}, y, n);
    else if (aStride == 0 && bStride == 1)
      runOf<Kind>(Constant{splat(*a)}, Along{b}, y, n);
    else
      runOf<Kind>(Strided{a, aStride}, Strided{b, bStride}, y, n);
  });
}

}  // namespace

void binary(Context& context, const BinaryArgs& args) {
  int64_t yStrides[kMaxRank], count = 1;
  for (int axis = args.shape.rank - 1; axis >= 0; --axis) {
    yStrides[axis] = count;
    count *= args.shape.at[axis];
  }
  if (count == 0) return;
  StridedLoop<3> loop;
  for (int axis = 0; axis < args.shape.rank; ++axis)
    loop.add(args.shape.at[axis], {args.aStrides.at[axis], args.bStrides.at[axis], yStrides[axis]});
  switch (args.kind) {
    case Binary::add:
      return apply<Add>(context, args, loop);
    case Binary::sub:
      return apply<Subtract>(context, args, loop);
    case Binary::mul:
      return apply<Multiply>(context, args, loop);
    case Binary::div:
      return apply<Divide>(context, args, loop);
    case Binary::maximum:
      return apply<Maximum>(context, args, loop);
    case Binary::minimum:
      return apply<Minimum>(context, args, loop);
    case Binary::greater:
      return apply<Greater>(context, args, loop);
    case Binary::equal:
      return apply<Equal>(context, args, loop);
  }
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
