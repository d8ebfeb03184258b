// layerNorm and layerNormBackward, of rows [rows, cols].
//
// Statistics in two passes (the mean, then the squares about it), with double totals; a block takes
// a row, which it finds in its cache after the first. Backward a block takes several rows and sums
// what they add to the gradients of gain and bias; another kernel sums that over the blocks.
// Memory: 8 bytes an element forward, 12 backward, and less than 1/8 of that for the partial sums.
#include "../block_reduce.h"
#include "../grid.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int64_t kLeastRows = 8, kMostBlocks = 1024;
constexpr int64_t kMostShared = 96 * 1024;

// ---- kernels ------------------------------------------------------------------------------------

// x, y: [rows, cols]; gain, bias: [cols] or null; meanOut, rstdOut: [rows]
__global__ void __launch_bounds__(kRowThreads)
    layerNormKernel(int64_t cols, float eps, const float* __restrict__ x,
                    const float* __restrict__ gain, const float* __restrict__ bias,
                    float* __restrict__ y, float* meanOut, float* rstdOut) {
  const float* row = x + blockIdx.x * cols;
  const double count = static_cast<double>(cols);
  const float mean =
      static_cast<float>(blockFold<Sum>(0, cols, [&](int64_t i) { return row[i]; }) / count);
  const double squares =
      blockFold<Sum>(0, cols, [&](int64_t i) { return (row[i] - mean) * (row[i] - mean); });
  const float rstd = static_cast<float>(1.0 / sqrt(squares / count + static_cast<double>(eps)));
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x)
    y[blockIdx.x * cols + i] = (row[i] - mean) * rstd * (gain != nullptr ? gain[i] : 1.0f) +
                               (bias != nullptr ? bias[i] : 0.0f);
  if (threadIdx.x != 0) return;
  meanOut[blockIdx.x] = mean;
  rstdOut[blockIdx.x] = rstd;
}

// dx[rows, cols]; dgain, dbias[blocks, cols]: sums over each block's rows, summed in shared memory
// if `shared`. x, dy: [rows, cols]; gain: [cols] or null; meanOf, rstdOf: [rows].
__global__ void __launch_bounds__(kRowThreads)
    layerNormBackwardKernel(int64_t rows, int64_t cols, int64_t rowsEach, bool shared,
                            const float* __restrict__ x, const float* __restrict__ gain,
                            const float* meanOf, const float* rstdOf, const float* __restrict__ dy,
                            float* __restrict__ dx, float* dgain, float* dbias) {
  EINLINEAR_DYNAMIC_SHARED(memory);
  float *blockGain = dgain + blockIdx.x * cols, *blockBias = dbias + blockIdx.x * cols;
  float* gainSum = shared ? reinterpret_cast<float*>(memory) : blockGain;
  float* biasSum = shared ? gainSum + cols : blockBias;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) gainSum[i] = biasSum[i] = 0;
  const int64_t begin = blockIdx.x * rowsEach;
  const int64_t end = begin + rowsEach < rows ? begin + rowsEach : rows;
  for (int64_t row = begin; row < end; ++row) {
    const float *from = x + row * cols, *d = dy + row * cols;
    const float mean = meanOf[row], rstd = rstdOf[row];
    const auto scaled = [&](int64_t i) { return gain != nullptr ? d[i] * gain[i] : d[i]; };
    const auto normalised = [&](int64_t i) { return (from[i] - mean) * rstd; };
    const double scale = 1.0 / static_cast<double>(cols);
    const float average = static_cast<float>(scale * blockFold<Sum>(0, cols, scaled));
    const float along = static_cast<float>(
        scale * blockFold<Sum>(0, cols, [&](int64_t i) { return scaled(i) * normalised(i); }));
    for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) {
      const float unit = normalised(i);
      dx[row * cols + i] = rstd * (scaled(i) - average - unit * along);
      gainSum[i] += d[i] * unit;
      biasSum[i] += d[i];
    }
  }
  if (!shared) return;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) {
    blockGain[i] = gainSum[i];
    blockBias[i] = biasSum[i];
  }
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void layerNorm(Context& context, const LayerNormArgs& args) {
  context.launch(layerNormKernel, dim3(static_cast<unsigned>(args.rows)), rowThreads(args.cols), 0,
                 args.cols, args.eps, args.x, args.gain, args.bias, args.y, args.mean, args.rstd);
}

void layerNormBackward(Context& context, const LayerNormBackwardArgs& args) {
  const int64_t rows = args.rows, cols = args.cols, even = ceilDiv(rows, kMostBlocks);
  const int64_t rowsEach = even > kLeastRows ? even : kLeastRows, blocks = ceilDiv(rows, rowsEach);
  const int64_t bytes = 2 * cols * static_cast<int64_t>(sizeof(float));
  const bool shared = bytes <= kMostShared;
  float *dgain = context.scratch<float>(1, blocks * cols),
        *dbias = context.scratch<float>(2, blocks * cols);
  context.launch(layerNormBackwardKernel, dim3(static_cast<unsigned>(blocks)), rowThreads(cols),
                 shared ? static_cast<size_t>(bytes) : 0, rows, cols, rowsEach, shared, args.x,
                 args.gain, args.mean, args.rstd, args.dy, args.dx, dgain, dbias);
  if (args.dgain != nullptr) reduce(context, {Reduction::sum, 1, blocks, cols, dgain, args.dgain});
  if (args.dbias != nullptr) reduce(context, {Reduction::sum, 1, blocks, cols, dbias, args.dbias});
}

}  // namespace cuda
}  // namespace einlinear
