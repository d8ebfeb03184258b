// unary, unaryBackward, affine and axpy: one pass over memory, 8 to 12 bytes an element.
#include "../../core/unary_kinds.h"
#include "../vectors.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr float kInverseSqrtTwoPi = 0.398942280401432678f;
// The tanh form of GELU is x * sigmoid(kSlope * (x + kCubic * x^3)).
constexpr float kSlope = 1.59576912160573071f;  // 2 * sqrt(2 / pi)
constexpr float kCubic = 0.044715f;

__device__ inline float logistic(float x) {
  const float e = expf(-fabsf(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// The derivative of logistic, from e = exp(-|x|).
__device__ inline float logisticSlope(float e) { return e / ((1.0f + e) * (1.0f + e)); }

// A kind of unary: its value, and its derivative times dy.
struct Neg {
  static __device__ inline float value(float x) { return -x; }
  static __device__ inline float gradient(float, float dy) { return -dy; }
};

struct Exp {
  static __device__ inline float value(float x) { return expf(x); }
  static __device__ inline float gradient(float x, float dy) { return dy * expf(x); }
};

struct Log {
  static __device__ inline float value(float x) { return logf(x); }
  static __device__ inline float gradient(float x, float dy) { return dy / x; }
};

struct Sqrt {
  static __device__ inline float value(float x) { return sqrtf(x); }
  static __device__ inline float gradient(float x, float dy) { return 0.5f * dy / sqrtf(x); }
};

struct Square {
  static __device__ inline float value(float x) { return x * x; }
  static __device__ inline float gradient(float x, float dy) { return 2.0f * x * dy; }
};

struct Abs {
  static __device__ inline float value(float x) { return fabsf(x); }
  static __device__ inline float gradient(float x, float dy) {
    if (x > 0.0f) return dy;
    return x < 0.0f ? -dy : x - x;  // 0 at 0, NaN at NaN
  }
};

struct Relu {
  static __device__ inline float value(float x) { return x < 0.0f ? 0.0f : x; }
  static __device__ inline float gradient(float x, float dy) { return x <= 0.0f ? 0.0f : dy; }
};

struct GeluErf {
  static __device__ inline float value(float x) { return x * normcdff(x); }
  static __device__ inline float gradient(float x, float dy) {
    return dy * (normcdff(x) + kInverseSqrtTwoPi * (x * expf(-0.5f * x * x)));
  }
};

struct GeluTanh {
  static __device__ inline float inner(float x) { return kSlope * (x + kCubic * (x * x * x)); }
  static __device__ inline float value(float x) { return x * logistic(inner(x)); }
  static __device__ inline float gradient(float x, float dy) {
    // Beyond 16 the sigmoid is 0 or 1; a bound keeps the cubic from overflowing there.
    float b = x > 16.0f ? 16.0f : x;
    b = b < -16.0f ? -16.0f : b;
    const float z = inner(b), e = expf(-fabsf(z));
    const float slope = kSlope * (1.0f + 3.0f * kCubic * (b * b));
    return dy * ((z < 0.0f ? e : 1.0f) / (1.0f + e) + b * slope * logisticSlope(e));
  }
};

struct Tanh {
  static __device__ inline float value(float x) { return tanhf(x); }
  static __device__ inline float gradient(float x, float dy) {
    return dy * (4.0f * logisticSlope(expf(-2.0f * fabsf(x))));
  }
};

struct Sigmoid {
  static __device__ inline float value(float x) { return logistic(x); }
  static __device__ inline float gradient(float x, float dy) {
    return dy * logisticSlope(expf(-fabsf(x)));
  }
};

struct Reciprocal {
  static __device__ inline float value(float x) { return 1.0f / x; }
  static __device__ inline float gradient(float x, float dy) { return -dy / (x * x); }
};

// ---- kernels ------------------------------------------------------------------------------------

// y[count] = f(x[count])
template <class Kind>
__global__ void __launch_bounds__(kThreads)
    unaryKernel(int64_t count, bool fours, const float* x, float* y) {
  forEachPart(count, fours,
              [&](int64_t i, auto part) { part.put(y + i, map(Kind::value, part.get(x + i))); });
}

// dx[count] = dy[count] * f'(x[count])
template <class Kind>
__global__ void __launch_bounds__(kThreads)
    unaryBackwardKernel(int64_t count, bool fours, const float* x, const float* dy, float* dx) {
  forEachPart(count, fours, [&](int64_t i, auto part) {
    part.put(dx + i, map(Kind::gradient, part.get(x + i), part.get(dy + i)));
  });
}

// y[count] = scale * x[count] + shift
__global__ void __launch_bounds__(kThreads)
    affineKernel(int64_t count, bool fours, float scale, float shift, const float* x, float* y) {
  forEachPart(count, fours, [&](int64_t i, auto part) {
    part.put(y + i, map([&](float each) { return scale * each + shift; }, part.get(x + i)));
  });
}

// y[count] += alpha * x[count]
__global__ void __launch_bounds__(kThreads)
    axpyKernel(int64_t count, bool fours, float alpha, const float* x, float* y) {
  forEachPart(count, fours, [&](int64_t i, auto part) {
    const auto sum = [&](float to, float each) { return to + alpha * each; };
    part.put(y + i, map(sum, part.get(y + i), part.get(x + i)));
  });
}

// ---- launchers ----------------------------------------------------------------------------------

template <class Kind>
void forward(Context& context, const UnaryArgs& args) {
  context.launch(unaryKernel<Kind>, blocksFor(args.count, 4), dim3(kThreads), 0, args.count,
                 aligned(args.x, args.y), args.x, args.y);
}

template <class Kind>
void backward(Context& context, const UnaryBackwardArgs& args) {
  context.launch(unaryBackwardKernel<Kind>, blocksFor(args.count, 4), dim3(kThreads), 0, args.count,
                 aligned(args.x, args.dy, args.dx), args.x, args.dy, args.dx);
}

}  // namespace

void unary(Context& context, const UnaryArgs& args) { EINLINEAR_UNARY_KINDS(forward) }

void unaryBackward(Context& context, const UnaryBackwardArgs& args) {
  EINLINEAR_UNARY_KINDS(backward)
}

void affine(Context& context, const AffineArgs& args) {
  context.launch(affineKernel, blocksFor(args.count, 4), dim3(kThreads), 0, args.count,
                 aligned(args.x, args.y), args.scale, args.shift, args.x, args.y);
}

void axpy(Context& context, const AxpyArgs& args) {
  context.launch(axpyKernel, blocksFor(args.count, 4), dim3(kThreads), 0, args.count,
                 aligned(args.x, args.y), args.alpha, args.x, args.y);
}

}  // namespace cuda
}  // namespace einlinear
