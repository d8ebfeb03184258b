// matmul: 2 m n k FLOPs a batch entry; gemm.h says how.
#include "../gemm.h"
#include "ops.h"

namespace einlinear {
namespace cuda {

void matmul(Context& context, const MatmulArgs& args) {
  Gemm g;
  g.m = args.m;
  g.n = args.n;
  g.k = args.k;
  g.outer = args.batch;
  g.a = args.a;
  g.aStrides.row = args.transA ? 1 : args.k;
  g.aStrides.column = args.transA ? args.m : 1;
  g.aStrides.outer = args.aStride;
  g.b = args.b;
  g.bStrides.row = args.transB ? 1 : args.n;
  g.bStrides.column = args.transB ? args.k : 1;
  g.bStrides.outer = args.bStride;
  g.bias = args.bias;
  g.biasStrides.column = 1;
  g.c = args.c;
  g.cStrides.row = args.n;
  g.cStrides.column = 1;
  g.cStrides.outer = args.m * args.n;
  g.accumulate = args.accumulate;
  gemm(context, g);
}

}  // namespace cuda
}  // namespace einlinear
