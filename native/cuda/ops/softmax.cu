// softmax and softmaxBackward, of rows [rows, cols], plain or logarithmic. A block takes a row.
//
// A row is read twice but comes from memory once: 8 bytes an element forward, 12 backward.
#include "ops.h"
#include "softmax_row.h"

namespace einlinear {
namespace cuda {
namespace {

// ---- kernels ------------------------------------------------------------------------------------

// y[rows, cols] = softmax of x[rows, cols], or its logarithm
__global__ void __launch_bounds__(kRowThreads)
    softmaxKernel(int64_t cols, bool log, const float* __restrict__ x, float* __restrict__ y) {
  const int64_t row = blockIdx.x * cols;
  const RowExponentials of = rowExponentials(x + row, cols);
  if (log) {
    const float rest = static_cast<float>(::log(of.sum));
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < cols; i += blockDim.x)
      y[row + i] = (x[row + i] - of.top) - rest;
  } else {
    const float scale = static_cast<float>(1.0 / of.sum);
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < cols; i += blockDim.x)
      y[row + i] = expf(x[row + i] - of.top) * scale;
  }
}

// dx[rows, cols] from the forward's y[rows, cols] and dy[rows, cols]
__global__ void __launch_bounds__(kRowThreads)
    softmaxBackwardKernel(int64_t cols, bool log, const float* __restrict__ y,
                          const float* __restrict__ dy, float* __restrict__ dx) {
  const int64_t row = blockIdx.x * cols;
  const float total = static_cast<float>(
      blockFold<Sum>(row, row + cols, [&](int64_t i) { return log ? dy[i] : y[i] * dy[i]; }));
#pragma unroll 4
  for (int64_t i = row + threadIdx.x; i < row + cols; i += blockDim.x)
    dx[i] = log ? dy[i] - expf(y[i]) * total : y[i] * (dy[i] - total);
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void softmax(Context& context, const SoftmaxArgs& args) {
  context.launch(softmaxKernel, dim3(static_cast<unsigned>(args.rows)), rowThreads(args.cols), 0,
                 args.cols, args.log, args.x, args.y);
}

void softmaxBackward(Context& context, const SoftmaxBackwardArgs& args) {
  context.launch(softmaxBackwardKernel, dim3(static_cast<unsigned>(args.rows)),
                 rowThreads(args.cols), 0, args.cols, args.log, args.y, args.dy, args.dx);
}

}  // namespace cuda
}  // namespace einlinear
