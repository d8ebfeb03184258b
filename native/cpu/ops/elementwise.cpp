// unary, unaryBackward, affine and axpy: one pass over memory, 8 to 12 bytes an element.
#include "../../core/unary_kinds.h"
#include "math.h"
#include "ops.h"
#include "vectors.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr float kInverseSqrtTwoPi = 0.398942280401432678f;
// The tanh form of GELU is x * sigmoid(kSlope * (x + kCubic * x^3)).
constexpr float kSlope = 1.59576912160573071f;  // 2 * sqrt(2 / pi)
constexpr float kCubic = 0.044715f;

// A kind of unary: its value, and its derivative times dy.
struct Neg {
  static inline Vec value(Vec x) { return -x; }
  static inline Vec gradient(Vec, Vec dy) { return -dy; }
};

struct Exp {
  static inline Vec value(Vec x) { return exp(x); }
  static inline Vec gradient(Vec x, Vec dy) { return dy * exp(x); }
};

struct Log {
  static inline Vec value(Vec x) { return log(x); }
  static inline Vec gradient(Vec x, Vec dy) { return dy / x; }
};

struct Sqrt {
  static inline Vec value(Vec x) { return sqrt(x); }
  static inline Vec gradient(Vec x, Vec dy) { return 0.5f * dy / sqrt(x); }
};

struct Square {
  static inline Vec value(Vec x) { return x * x; }
  static inline Vec gradient(Vec x, Vec dy) { return 2.0f * x * dy; }
};

struct Abs {
  static inline Vec value(Vec x) { return abs(x); }
  static inline Vec gradient(Vec x, Vec dy) {
    const Vec rest = x < 0.0f ? -dy : x - x;  // 0 at 0, NaN at NaN
    return x > 0.0f ? dy : rest;
  }
};

struct Relu {
  static inline Vec value(Vec x) { return x < 0.0f ? Vec{} : x; }
  static inline Vec gradient(Vec x, Vec dy) { return x <= 0.0f ? Vec{} : dy; }
};

struct GeluErf {
  static inline Vec value(Vec x) { return x * normal(x).integral; }
  static inline Vec gradient(Vec x, Vec dy) {
    const Normal at = normal(x);
    return dy * (at.integral + kInverseSqrtTwoPi * (x * at.bell));
  }
};

struct GeluTanh {
  static inline Vec inner(Vec x) { return kSlope * (x + kCubic * (x * x * x)); }
  static inline Vec value(Vec x) { return x * sigmoid(inner(x)); }
  static inline Vec gradient(Vec x, Vec dy) {
    // Beyond 16 the sigmoid is 0 or 1; a bound keeps the cubic from overflowing there.
    Vec b = x > 16.0f ? splat(16.0f) : x;
    b = b < -16.0f ? splat(-16.0f) : b;
    const Vec z = inner(b), e = exp(-abs(z)), s = sigmoid(z);
    const Vec slope = kSlope * (1.0f + 3.0f * kCubic * (b * b));
    return dy * (s + b * slope * (e / ((1.0f + e) * (1.0f + e))));
  }
};

struct Tanh {
  static inline Vec value(Vec x) { return tanh(x); }
  static inline Vec gradient(Vec x, Vec dy) {
    const Vec e = exp(-2.0f * abs(x));
    return dy * (4.0f * e / ((1.0f + e) * (1.0f + e)));
  }
};

struct Sigmoid {
  static inline Vec value(Vec x) { return sigmoid(x); }
  static inline Vec gradient(Vec x, Vec dy) {
    const Vec e = exp(-abs(x));
    return dy * (e / ((1.0f + e) * (1.0f + e)));
  }
};

struct Reciprocal {
  static inline Vec value(Vec x) { return 1.0f / x; }
  static inline Vec gradient(Vec x, Vec dy) { return -dy / (x * x); }
};

template <class Kind>
void forward(Context& context, const UnaryArgs& args) {
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    part.put(args.y + i, Kind::value(part.get(args.x + i)));
  });
}

template <class Kind>
void backward(Context& context, const UnaryBackwardArgs& args) {
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    part.put(args.dx + i, Kind::gradient(part.get(args.x + i), part.get(args.dy + i)));
  });
}

}  // namespace

void unary(Context& context, const UnaryArgs& args) { EINLINEAR_UNARY_KINDS(forward) }

void unaryBackward(Context& context, const UnaryBackwardArgs& args) {
  EINLINEAR_UNARY_KINDS(backward)
}

void affine(Context& context, const AffineArgs& args) {
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    part.put(args.y + i, args.scale * part.get(args.x + i) + args.shift);
  });
}

void axpy(Context& context, const AxpyArgs& args) {
  parallelVectors(context, args.count, [&](int64_t i, auto part) {
    part.put(args.y + i, part.get(args.y + i) + args.alpha * part.get(args.x + i));
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
