// crossEntropy and crossEntropyBackward, of logits [rows, classes] and a target class per row.
//
// Forward reads the logits once; backward reads them and writes their gradient from the saved
// log-sum-exp: 4 and 8 bytes a logit, one exponential each. A block takes a row.
#include "../report.h"
#include "ops.h"
#include "softmax_row.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int kMeanThreads = 1024;

// ---- kernels ------------------------------------------------------------------------------------

// lse, losses[rows], a loss 0 where the row does not count. logits: [rows, classes]; targets:
// [rows]
__global__ void __launch_bounds__(kRowThreads)
    crossEntropyKernel(Status* status, int64_t classes, int64_t ignoreIndex, const float* logits,
                       const int32_t* targets, float* lse, double* losses) {
  const int64_t row = blockIdx.x;
  const float* x = logits + row * classes;
  const RowExponentials of = rowExponentials(x, classes);
  if (threadIdx.x != 0) return;
  const double rest = log(of.sum);
  const int64_t target = targets[row];
  lse[row] = static_cast<float>(static_cast<double>(of.top) + rest);
  losses[row] = target != ignoreIndex && checkIndex(status, Problem::target, target, classes, row)
                    ? static_cast<double>(of.top - x[target]) + rest
                    : 0.0;
}

// counted[1] = how many of targets[rows] are not ignoreIndex; loss[1] = mean of losses[rows] over
// them. One block.
__global__ void __launch_bounds__(kMeanThreads)
    meanLossKernel(int64_t rows, int64_t ignoreIndex, const int32_t* targets, const double* losses,
                   float* loss, float* counted) {
  double total = 0, count = 0;
#pragma unroll 4
  for (int64_t row = threadIdx.x; row < rows; row += kMeanThreads) {
    total += losses[row];
    count += targets[row] != ignoreIndex ? 1 : 0;
  }
  total = blockReduce<Sum>(total);
  count = blockReduce<Sum>(count);
  if (threadIdx.x != 0) return;
  *loss = count > 0 ? static_cast<float>(total / count) : 0.0f;
  *counted = static_cast<float>(count);
}

// dlogits[rows, classes], 0 in rows that do not count. logits: [rows, classes]; targets, lse:
// [rows]; counted, dloss: [1]
__global__ void __launch_bounds__(kRowThreads)
    crossEntropyBackwardKernel(Status* status, int64_t classes, int64_t ignoreIndex,
                               const float* __restrict__ logits, const int32_t* targets,
                               const float* lse, const float* counted, const float* dloss,
                               float* __restrict__ dlogits) {
  const int64_t row = blockIdx.x, target = targets[row];
  const bool counts =
      target != ignoreIndex && checkIndex(status, Problem::target, target, classes, row);
  const float *x = logits + row * classes, level = lse[row];
  const float scale = *counted > 0.0f ? *dloss / *counted : 0.0f;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < classes; i += blockDim.x) {
    const float p = counts ? expf(x[i] - level) * scale : 0.0f;
    dlogits[row * classes + i] = counts && i == target ? p - scale : p;
  }
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void crossEntropy(Context& context, const CrossEntropyArgs& args) {
  double* losses = context.scratch<double>(0, args.rows);
  context.launch(crossEntropyKernel, dim3(static_cast<unsigned>(args.rows)),
                 rowThreads(args.classes), 0, context.status(), args.classes, args.ignoreIndex,
                 args.logits, args.targets, args.lse, losses);
  context.launch(meanLossKernel, dim3(1), dim3(kMeanThreads), 0, args.rows, args.ignoreIndex,
                 args.targets, losses, args.loss, args.counted);
}

void crossEntropyBackward(Context& context, const CrossEntropyBackwardArgs& args) {
  context.launch(crossEntropyBackwardKernel, dim3(static_cast<unsigned>(args.rows)),
                 rowThreads(args.classes), 0, context.status(), args.classes, args.ignoreIndex,
                 args.logits, args.targets, args.lse, args.counted, args.dloss, args.dlogits);
}

}  // namespace cuda
}  // namespace einlinear
