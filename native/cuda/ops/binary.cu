// binary: y = f(a, b) with broadcasting, 12 bytes an element when both operands are full.
//
// Axes are merged as far as both operands allow, so that equal shapes, a scalar, a row (repeated
// over rows) and a column (repeated along rows) all become runs of fours or of a constant.
#include "../vectors.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

struct Add {
  static __device__ inline float value(float a, float b) { return a + b; }
};
struct Subtract {
  static __device__ inline float value(float a, float b) { return a - b; }
};
struct Multiply {
  static __device__ inline float value(float a, float b) { return a * b; }
};
struct Divide {
  static __device__ inline float value(float a, float b) { return a / b; }
};
// A NaN on either side is the result: as `a` by the second test, as `b` because no test holds.
struct Maximum {
  static __device__ inline float value(float a, float b) { return a > b || a != a ? a : b; }
};
struct Minimum {
  static __device__ inline float value(float a, float b) { return a < b || a != a ? a : b; }
};
struct Greater {
  static __device__ inline float value(float a, float b) { return a > b ? 1.0f : 0.0f; }
};
struct Equal {
  static __device__ inline float value(float a, float b) { return a == b ? 1.0f : 0.0f; }
};

// The axes of y, outermost first, and how a and b go along them.
struct Axes {
  Dims size, aStride, bStride;
};

// Axes of size 1 are left out, and neighbours that both operands cross with one stride are one.
Axes merge(const BinaryArgs& args) {
  Axes axes;
  int& rank = axes.size.rank;
  for (int axis = 0; axis < args.shape.rank; ++axis) {
    const int64_t n = args.shape[axis], a = args.aStrides[axis], b = args.bStrides[axis];
    if (n == 1) continue;
    const bool joins =
        rank > 0 && axes.aStride[rank - 1] == n * a && axes.bStride[rank - 1] == n * b;
    if (!joins) ++rank;
    axes.size[rank - 1] = joins ? axes.size[rank - 1] * n : n;
    axes.aStride[rank - 1] = a;
    axes.bStride[rank - 1] = b;
  }
  if (rank == 0) axes.size[rank++] = 1;
  return axes;
}

// Whether the operand can be read four at a time along the last axis, a multiple of 4 long unless
// it is the only one.
bool inFours(const float* p, const Dims& size, const Dims& stride) {
  const int last = size.rank - 1;
  if (stride[last] == 0) return true;
  bool all = stride[last] == 1 && aligned(p);
  for (int axis = 0; axis < last; ++axis) all = all && stride[axis] % 4 == 0;
  return all;
}

// Where the operands are at index i of y. Integer is wide enough for i.
template <class Integer>
__device__ inline void locate(const Axes& axes, Integer i, int64_t* a, int64_t* b) {
  *a = *b = 0;
  for (int axis = axes.size.rank - 1; axis > 0; --axis) {
    const Integer size = static_cast<Integer>(axes.size.at[axis]), rest = i / size;
    const int64_t at = i - rest * size;
    *a += at * axes.aStride.at[axis];
    *b += at * axes.bStride.at[axis];
    i = rest;
  }
  *a += i * axes.aStride.at[0];
  *b += i * axes.bStride.at[0];
}

// What a part reads at p: consecutive numbers, or one for all.
template <int N>
__device__ __forceinline__ Floats<N> along(Part<N> part, const float* p, bool constant) {
  if (!constant) return part.get(p);
  Floats<N> all;
  for (int i = 0; i < N; ++i) all.at[i] = *p;
  return all;
}

// ---- kernels ------------------------------------------------------------------------------------

// y[count] = f(a[i . aStride], b[i . bStride]), i over the indices of axes.size
template <class Kind>
__global__ void __launch_bounds__(kThreads)
    binaryKernel(int64_t count, bool fours, Axes axes, const float* a, const float* b, float* y) {
  const int last = axes.size.rank - 1;
  const bool aConstant = axes.aStride.at[last] == 0, bConstant = axes.bStride.at[last] == 0;
  forEachPart(count, fours, [&](int64_t i, auto part) {
    int64_t aAt, bAt;
    if (count <= UINT32_MAX)
      locate(axes, static_cast<uint32_t>(i), &aAt, &bAt);
    else
      locate(axes, i, &aAt, &bAt);
    part.put(y + i,
             map(Kind::value, along(part, a + aAt, aConstant), along(part, b + bAt, bConstant)));
  });
}

// ---- launchers ----------------------------------------------------------------------------------

template <class Kind>
void apply(Context& context, const BinaryArgs& args) {
  const int64_t count = args.shape.product();
  const Axes axes = merge(args);
  const int rank = axes.size.rank;
  const bool fours = (rank == 1 || axes.size[rank - 1] % 4 == 0) && aligned(args.y) &&
                     inFours(args.a, axes.size, axes.aStride) &&
                     inFours(args.b, axes.size, axes.bStride);
  context.launch(binaryKernel<Kind>, blocksFor(count, 4), dim3(kThreads), 0, count, fours, axes,
                 args.a, args.b, args.y);
}

}  // namespace

void binary(Context& context, const BinaryArgs& args) {
  switch (args.kind) {
    case Binary::add:
      return apply<Add>(context, args);
    case Binary::sub:
      return apply<Subtract>(context, args);
    case Binary::mul:
      return apply<Multiply>(context, args);
    case Binary::div:
      return apply<Divide>(context, args);
    case Binary::maximum:
      return apply<Maximum>(context, args);
    case Binary::minimum:
      return apply<Minimum>(context, args);
    case Binary::greater:
      return apply<Greater>(context, args);
    case Binary::equal:
      return apply<Equal>(context, args);
  }
}

}  // namespace cuda
}  // namespace einlinear
