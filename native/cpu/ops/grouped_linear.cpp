// groupedLinear, groupedLinearBackward: one dense product an expert over its consecutive rows.
#include <cstring>

#include "../../core/error.h"
#include "gemm.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

// Every row belongs to an expert, so that every row is written.
void checkOffsets(const int32_t* offsets, int64_t experts, int64_t rows) {
  if (offsets[0] != 0 || offsets[experts] != rows) {
    fail("OUT_OF_RANGE", "Expected offsets to go from 0 to %lld, got %d to %d",
         static_cast<long long>(rows), offsets[0], offsets[experts]);
  }
  for (int64_t e = 0; e < experts; ++e) {
    if (offsets[e] >= 0 && offsets[e] <= offsets[e + 1] && offsets[e + 1] <= rows) continue;
    fail("OUT_OF_RANGE",
         "Expected offsets to ascend from 0 to %lld, got %d then %d for expert %lld",
         static_cast<long long>(rows), offsets[e], offsets[e + 1], static_cast<long long>(e));
  }
}

}  // namespace

void groupedLinear(Context& context, const GroupedLinearArgs& args) {
  checkOffsets(args.offsets, args.experts, args.rows);
  for (int64_t e = 0; e < args.experts; ++e) {
    const int64_t first = args.offsets[e], count = args.offsets[e + 1] - first;
    gemm(context, Gemm{1, count, args.n, args.k, args.x + first * args.k, 0, false,
                       args.w + e * args.n * args.k, 0, true,
                       args.bias == nullptr ? nullptr : args.bias + e * args.n,
                       args.y + first * args.n, 0, false});
  }
}

void groupedLinearBackward(Context& context, const GroupedLinearBackwardArgs& args) {
  checkOffsets(args.offsets, args.experts, args.rows);
  for (int64_t e = 0; e < args.experts; ++e) {
    const int64_t first = args.offsets[e], count = args.offsets[e + 1] - first;
    const float *x = args.x + first * args.k, *dy = args.dy + first * args.n,
                *w = args.w + e * args.n * args.k;
    if (args.dx != nullptr)
      gemm(context, Gemm{1, count, args.k, args.n, dy, 0, false, w, 0, false, nullptr,
                         args.dx + first * args.k, 0, false});
    if (args.dw != nullptr)
      gemm(context, Gemm{1, args.n, args.k, count, dy, 0, true, x, 0, false, nullptr,
                         args.dw + e * args.n * args.k, 0, false});
    if (args.dbias != nullptr) {
      float* dbias = args.dbias + e * args.n;
      context.blocks(args.n, 64, [&](int64_t begin, int64_t end) {
        std::memset(dbias + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
        for (int64_t i = 0; i < count; ++i)
          for (int64_t j = begin; j < end; ++j) dbias[j] += dy[i * args.n + j];
      });
    }
  }
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
