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
  g.aStrides = {args.transA ? 1 : args.k, args.transA ? args.m : 1, args.aStride};
  g.b = args.b;
  g.bStrides = {args.transB ? 1 : args.n, args.transB ? args.k : 1, args.bStride};
  g.bias = args.bias;
  g.biasStrides = {0, 1};
  g.c = args.c;
  g.cStrides = {args.n, 1, args.m * args.n};
  g.accumulate = args.accumulate;
  gemm(context, g);
}

}  // namespace cuda
}  // namespace einlinear
