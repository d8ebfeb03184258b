// fill and stridedCopy: 4 bytes an element written, and read by the copy (twice with `accumulate`).
#include "../grid.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// ---- kernels ------------------------------------------------------------------------------------

// y[count] = value
__global__ void fillKernel(int64_t count, float value, float* y) {
  forEach(count, [&](int64_t i) { y[i] = value; });
}

// dst[i . dstStrides] (+)= src[i . srcStrides], i over the `count` indices of `shape`
template <bool Accumulate>
__global__ void stridedCopyKernel(int64_t count, Dims shape, Dims srcStrides, Dims dstStrides,
                                  const float* src, float* dst) {
  forEach(count, [&](int64_t i) {
    int64_t rest = i, from = 0, to = 0;
    for (int axis = shape.rank - 1; axis >= 0; --axis) {
      const int64_t at = rest % shape.at[axis];
      rest /= shape.at[axis];
      from += at * srcStrides.at[axis];
      to += at * dstStrides.at[axis];
    }
    if (Accumulate)
      dst[to] += src[from];
    else
      reinterpret_cast<int32_t*>(dst)[to] = reinterpret_cast<const int32_t*>(src)[from];
  });
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void fill(Context& context, const FillArgs& args) {
  context.launch(fillKernel, blocksFor(args.count, 4), dim3(kThreads), 0, args.count, args.value,
                 args.y);
}

void stridedCopy(Context& context, const StridedCopyArgs& args) {
  const int64_t count = args.shape.product();
  const auto kernel = args.accumulate ? stridedCopyKernel<true> : stridedCopyKernel<false>;
  context.launch(kernel, blocksFor(count, 4), dim3(kThreads), 0, count, args.shape, args.srcStrides,
                 args.dstStrides, args.src + args.srcOffset, args.dst + args.dstOffset);
}

}  // namespace cuda
}  // namespace einlinear
