// groupedLinear, groupedLinearBackward: 2 n k FLOPs a row and product, each expert's weights read
// once for every tile of its rows. How many rows an expert has only the device knows: launches
// cover every way to share the rows, and blocks find their expert, or nothing to do.
#include "../column_sums.h"
#include "../gemm.h"
#include "../grid.h"
#include "../report.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// ---- kernels ------------------------------------------------------------------------------------

// checked[groups + 1] = offsets[groups + 1] if they rise from 0 to `rows`, else all 0. One block.
__global__ void __launch_bounds__(kThreads)
    checkOffsetsKernel(int64_t groups, int64_t rows, const int32_t* offsets, int32_t* checked,
                       Status* status) {
  __shared__ int wrong;
  if (threadIdx.x == 0) wrong = 0;
  __syncthreads();
  for (int64_t i = threadIdx.x; i <= groups; i += blockDim.x) {
    const int64_t offset = offsets[i], before = i == 0 ? 0 : offsets[i - 1];
    if (offset >= before && offset <= rows && (i > 0 || offset == 0) &&
        (i < groups || offset == rows))
      continue;
    wrong = 1;
    report(status, Problem::groupOffset, offset, rows, i);
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i <= groups; i += blockDim.x)
    checked[i] = wrong != 0 ? 0 : offsets[i];
}

// ---- launchers ----------------------------------------------------------------------------------

const int32_t* checkedOffsets(Context& context, int64_t groups, int64_t rows,
                              const int32_t* offsets) {
  int32_t* checked = context.scratch<int32_t>(0, groups + 1);
  context.launch(checkOffsetsKernel, dim3(1), dim3(kThreads), 0, groups, rows, offsets, checked,
                 context.status());
  return checked;
}

}  // namespace

void groupedLinear(Context& context, const GroupedLinearArgs& args) {
  Gemm g;
  g.grouping = Grouping::rows;
  g.offsets = checkedOffsets(context, args.experts, args.rows, args.offsets);
  g.outer = args.experts;
  g.m = args.rows;
  g.n = args.n;
  g.k = args.k;
  g.a = args.x;
  g.aStrides = {args.k, 1};
  g.b = args.w;
  g.bStrides = {1, args.k, args.n * args.k};
  g.bias = args.bias;
  g.biasStrides = {0, 1, args.n};
  g.c = args.y;
  g.cStrides = {args.n, 1};
  gemm(context, g);
}

void groupedLinearBackward(Context& context, const GroupedLinearBackwardArgs& args) {
  const int32_t* offsets = checkedOffsets(context, args.experts, args.rows, args.offsets);
  if (args.dx != nullptr) {
    Gemm g;
    g.grouping = Grouping::rows;
    g.offsets = offsets;
    g.outer = args.experts;
    g.m = args.rows;
    g.n = args.k;
    g.k = args.n;
    g.a = args.dy;
    g.aStrides = {args.n, 1};
    g.b = args.w;
    g.bStrides = {args.k, 1, args.n * args.k};
    g.c = args.dx;
    g.cStrides = {args.k, 1};
    gemm(context, g);
  }
  if (args.dw != nullptr) {
    Gemm g;
    g.grouping = Grouping::depth;
    g.offsets = offsets;
    g.outer = args.experts;
    g.m = args.n;
    g.n = args.k;
    g.k = args.rows;
    g.a = args.dy;
    g.aStrides = {1, args.n};
    g.b = args.x;
    g.bStrides = {args.k, 1};
    g.c = args.dw;
    g.cStrides = {args.k, 1, args.n * args.k};
    gemm(context, g);
  }
  if (args.dbias != nullptr)
    columnSums(context, args.experts, offsets, args.rows, args.n, args.dy, args.n, args.dbias);
}

}  // namespace cuda
}  // namespace einlinear
