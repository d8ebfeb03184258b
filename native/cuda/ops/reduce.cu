// reduce: sum, mean, max or min over the middle axis of [outer, length, inner].
//
// Reads 4 bytes an element. The mean of nothing is NaN, its sum 0, its max -infinity and its min
// infinity; a NaN makes the result NaN. Three ways, all of them in an order that the sizes alone
// decide: a thread takes an output where these are many or short; a block takes a piece of a row,
// or of 32 neighbouring columns, else, and a second kernel joins the pieces.
#include "../block_reduce.h"
#include "../grid.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int kRun = 16;            // joined in single precision at a time
constexpr int kColumns = 32;        // of a block
constexpr int64_t kMany = 1 << 17;  // outputs that keep a device busy, a thread each
constexpr int64_t kMostPieces = 1024;

// Joins x[l * step], l = first, first + by, ... below `end`.
template <class Kind>
__device__ inline double foldStrided(const float* x, int64_t first, int64_t end, int64_t by,
                                     int64_t step) {
  double total = Kind::kIdentity;
  for (int64_t l = first; l < end;) {
    float run = Kind::kIdentity;
#pragma unroll 8
    for (int r = 0; r < kRun; ++r, l += by)
      if (l < end) run = Kind::join(run, x[l * step]);
    total = Kind::join(total, static_cast<double>(run));
  }
  return total;
}

// ---- kernels ------------------------------------------------------------------------------------

// y[outputs, inner] = fold of x[outputs, length, inner] / divisor, a thread an output
template <class Kind>
__global__ void __launch_bounds__(kThreads)
    outputsKernel(int64_t outputs, int64_t length, int64_t inner, double divisor, const float* x,
                  float* y) {
  forEach(outputs, [&](int64_t i) {
    const float* from = inner == 1 ? x + i * length : x + i / inner * length * inner + i % inner;
    y[i] = static_cast<float>(foldStrided<Kind>(from, 0, length, 1, inner) / divisor);
  });
}

// partial[rows, pieces] = fold of x[rows, length] over pieces of `piece`, a block each; with one
// piece y[rows] = that / divisor
template <class Kind>
__global__ void __launch_bounds__(kRowThreads)
    rowsKernel(int64_t length, int64_t pieces, int64_t piece, double divisor, const float* x,
               double* partial, float* y) {
  const float* row = x + blockIdx.x / pieces * length;
  const int64_t begin = blockIdx.x % pieces * piece;
  const int64_t end = begin + piece < length ? begin + piece : length;
  const double total = blockFold<Kind>(begin, end, [&](int64_t i) { return row[i]; });
  if (threadIdx.x != 0) return;
  if (pieces == 1)
    y[blockIdx.x] = static_cast<float>(total / divisor);
  else
    partial[blockIdx.x] = total;
}

// partial[outer, inner, pieces] = fold of x[outer, length, inner] over pieces of `piece`; a block
// takes kColumns of the inner axis (slices of them), a warp every kThreads / 32-th row; with one
// piece y[outer, inner] = that / divisor
template <class Kind>
__global__ void __launch_bounds__(kThreads)
    columnsKernel(int64_t length, int64_t inner, int64_t slices, int64_t pieces, int64_t piece,
                  double divisor, const float* x, double* partial, float* y) {
  constexpr int kRows = kThreads / kColumns;
  __shared__ double parts[kRows][kColumns];
  const int lane = threadIdx.x % kColumns, row = threadIdx.x / kColumns;
  const int64_t slice = blockIdx.x % slices, at = blockIdx.x / slices % pieces;
  const int64_t outer = blockIdx.x / slices / pieces, column = slice * kColumns + lane;
  const int64_t begin = at * piece, end = begin + piece < length ? begin + piece : length;
  const float* from = x + outer * length * inner + column;
  if (column < inner) parts[row][lane] = foldStrided<Kind>(from, begin + row, end, kRows, inner);
  __syncthreads();
  if (row != 0 || column >= inner) return;
  double total = parts[0][lane];
  for (int r = 1; r < kRows; ++r) total = Kind::join(total, parts[r][lane]);
  const int64_t output = outer * inner + column;
  if (pieces == 1)
    y[output] = static_cast<float>(total / divisor);
  else
    partial[output * pieces + at] = total;
}

// y[outputs] = fold of partial[outputs, pieces] / divisor, a warp each
template <class Kind>
__global__ void __launch_bounds__(kThreads)
    finishKernel(int64_t outputs, int64_t pieces, double divisor, const double* partial, float* y) {
  const int lane = threadIdx.x % 32;
  const int64_t output = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (output >= outputs) return;
  double total = Kind::kIdentity;
  for (int64_t piece = lane; piece < pieces; piece += 32)
    total = Kind::join(total, partial[output * pieces + piece]);
  total = warpReduce<Kind>(total);
  if (lane == 0) y[output] = static_cast<float>(total / divisor);
}

// ---- launchers ----------------------------------------------------------------------------------

template <class Kind>
void apply(Context& context, const ReduceArgs& args, double divisor) {
  const int64_t length = args.length, inner = args.inner, outputs = args.outer * inner;
  if (length <= kRun || (inner > 1 && outputs >= kMany))
    return context.launch(outputsKernel<Kind>, blocksFor(outputs), dim3(kThreads), 0, outputs,
                          length, inner, divisor, args.x, args.y);
  const int64_t least = inner == 1 ? 16384 : 512;
  const int64_t piece = least > length / kMostPieces ? least : ceilDiv(length, kMostPieces);
  const int64_t pieces = ceilDiv(length, piece), slices = ceilDiv(inner, kColumns);
  double* partial = context.scratch<double>(0, outputs * pieces);
  const dim3 grid(static_cast<unsigned>(args.outer * slices * pieces));
  if (inner == 1)
    context.launch(rowsKernel<Kind>, grid, rowThreads(length), 0, length, pieces, piece, divisor,
                   args.x, partial, args.y);
  else
    context.launch(columnsKernel<Kind>, grid, dim3(kThreads), 0, length, inner, slices, pieces,
                   piece, divisor, args.x, partial, args.y);
  if (pieces == 1) return;
  context.launch(finishKernel<Kind>, dim3(static_cast<unsigned>(ceilDiv(outputs, kThreads / 32))),
                 dim3(kThreads), 0, outputs, pieces, divisor, partial, args.y);
}

}  // namespace

// Uses scratch slot 0.
void reduce(Context& context, const ReduceArgs& args) {
  switch (args.kind) {
    case Reduction::sum:
      return apply<Sum>(context, args, 1);
    case Reduction::mean:
      return apply<Sum>(context, args, static_cast<double>(args.length));
    case Reduction::max:
      return apply<Max>(context, args, 1);
    case Reduction::min:
      return apply<Min>(context, args, 1);
  }
}

}  // namespace cuda
}  // namespace einlinear
