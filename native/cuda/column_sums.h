// Sums over rows: gradients of biases.
#pragma once

#include <cstdint>

#include "context.h"

namespace einlinear {
namespace cuda {

// y[g, j] = sum of x[i, j] over the rows i in [offsets[g], offsets[g + 1]), 0 where there are none;
// x is [rows, columns] with `stride` from row to row, y is [groups, columns]. The offsets lie in
// device memory and are within [0, rows]; null means one group of all rows. Adds in an order that
// depends on the sizes alone. Uses kGemmScratch.
void columnSums(Context& context, int64_t groups, const int32_t* offsets, int64_t rows,
                int64_t columns, const float* x, int64_t stride, float* y);

}  // namespace cuda
}  // namespace einlinear
