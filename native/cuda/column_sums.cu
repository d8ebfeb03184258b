// columnSums: reads x once, 4 bytes and an addition an element. The rows of a group are cut into
// pieces so that few columns fill the device too; a second pass adds the sums of the pieces.
#include "column_sums.h"
#include "gemm.h"
#include "grid.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int kColumns = 32, kRows = 8;     // threads of a block
constexpr int64_t kLeastRows = 16 * kRows;  // what a piece should have
constexpr int64_t kFill = 1056;             // blocks that fill a device

// ---- kernels ------------------------------------------------------------------------------------

// y[pieces, groups, columns] = sums of the pieces; x[rows, columns] with `stride`
__global__ void __launch_bounds__(kColumns* kRows)
    pieceSumsKernel(int64_t groups, const int32_t* offsets, int64_t rows, int64_t columns,
                    int64_t pieces, const float* x, int64_t stride, float* y) {
  __shared__ float sums[kRows][kColumns];
  const int lane = static_cast<int>(threadIdx.x) % kColumns;
  const int own = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t strips = (columns + kColumns - 1) / kColumns;
  const int64_t column = blockIdx.x % strips * kColumns + lane;
  const int64_t group = blockIdx.x / strips % groups, piece = blockIdx.x / strips / groups;
  const int64_t begin = offsets == nullptr ? 0 : offsets[group];
  const int64_t count = (offsets == nullptr ? rows : offsets[group + 1]) - begin;
  const int64_t end = begin + count * (piece + 1) / pieces;
  float sum = 0;
  if (column < columns)
    for (int64_t row = begin + count * piece / pieces + own; row < end; row += kRows)
      sum += x[row * stride + column];
  sums[own][lane] = sum;
  __syncthreads();
  if (own != 0 || column >= columns) return;
  for (int i = 1; i < kRows; ++i) sum += sums[i][lane];
  y[(piece * groups + group) * columns + column] = sum;
}

// y[count] = sum of parts[pieces, count], in order
__global__ void __launch_bounds__(kThreads)
    addPiecesKernel(int64_t pieces, int64_t count, const float* parts, float* y) {
  forEach(count, [&](int64_t i) {
    float sum = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) sum += parts[piece * count + i];
    y[i] = sum;
  });
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void columnSums(Context& context, int64_t groups, const int32_t* offsets, int64_t rows,
                int64_t columns, const float* x, int64_t stride, float* y) {
  if (groups == 0 || columns == 0) return;
  const int64_t blocks = groups * ceilDiv(columns, kColumns);
  const int64_t most = ceilDiv(kFill, blocks), sensible = rows / groups / kLeastRows;
  const int64_t pieces = sensible < 1 ? 1 : sensible < most ? sensible : most;
  const auto sum = [&](float* to) {
    context.launch(pieceSumsKernel, dim3(static_cast<unsigned>(blocks * pieces)),
                   dim3(kColumns * kRows), 0, groups, offsets, rows, columns, pieces, x, stride,
                   to);
  };
  if (pieces == 1) return sum(y);
  float* parts = context.scratch<float>(kGemmScratch, times(pieces, groups, columns));
  sum(parts);
  context.launch(addPiecesKernel, blocksFor(groups * columns), dim3(kThreads), 0, pieces,
                 groups * columns, parts, y);
}

}  // namespace cuda
}  // namespace einlinear
