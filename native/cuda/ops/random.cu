// random and dropout: element i of a call is element offset + i of the Philox stream of its seed.
//
// Cost: 20 integer products for 4 elements; 4 bytes an element, 8 for dropout.
#include <cmath>

#include "../../core/philox.h"
#include "../vectors.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

// Calls body(i, words) for the elements of [0, count), from all threads of a grid over
// counters(): words[k] is the stream's word for element i + k; of the four, those in [0, count)
// are asked for.
template <class Body>
__device__ inline void forEachCounter(int64_t count, uint64_t seed, uint64_t offset,
                                      const Body& body) {
  const int64_t skip = static_cast<int64_t>(offset % 4);
  forEach((count + skip + 3) / 4, [&](int64_t j) {
    body(4 * j - skip, philox(seed, offset / 4 + static_cast<uint64_t>(j)));
  });
}

// y[i .. i + 4) = values, as far as they lie in [0, count)
__device__ inline void putFour(int64_t i, int64_t count, bool fours, const Floats<4>& values,
                               float* y) {
  if (fours && i >= 0 && i + 4 <= count) return Part<4>{}.put(y + i, values);
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (i + k >= 0 && i + k < count) y[i + k] = values.at[k];
}

// ---- kernels ------------------------------------------------------------------------------------

// y[count] = a + (b - a) * u, at most `last`, the number before b
__global__ void __launch_bounds__(kThreads)
    uniformKernel(int64_t count, bool fours, uint64_t seed, uint64_t offset, float a, float b,
                  float last, float* y) {
  forEachCounter(count, seed, offset, [&](int64_t i, const PhiloxWords& words) {
    Floats<4> values;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float value = fmaf(b - a, philoxUniform(words.at[k]), a);
      values.at[k] = value > last ? last : value;
    }
    putFour(i, count, fours, values, y);
  });
}

// y[count] = a + b * z
__global__ void __launch_bounds__(kThreads)
    normalKernel(int64_t count, bool fours, uint64_t seed, uint64_t offset, float a, float b,
                 float* y) {
  forEachCounter(count, seed, offset, [&](int64_t i, const PhiloxWords& words) {
    Floats<4> z;
    philoxNormal(words.at[0], words.at[1], &z.at[0], &z.at[1]);
    philoxNormal(words.at[2], words.at[3], &z.at[2], &z.at[3]);
    putFour(i, count, fours, map([&](float each) { return fmaf(b, each, a); }, z), y);
  });
}

// y[count] = u < p ? 0 : x[count] * scale
__global__ void __launch_bounds__(kThreads)
    dropoutKernel(int64_t count, bool fours, uint64_t seed, uint64_t offset, float p, float scale,
                  const float* x, float* y) {
  forEachCounter(count, seed, offset, [&](int64_t i, const PhiloxWords& words) {
    Floats<4> values = {};
    if (fours && i >= 0 && i + 4 <= count) {
      values = Part<4>{}.get(x + i);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (i + k >= 0 && i + k < count) values.at[k] = x[i + k];
    }
#pragma unroll
    for (int k = 0; k < 4; ++k)
      values.at[k] = philoxUniform(words.at[k]) < p ? 0.0f : values.at[k] * scale;
    putFour(i, count, fours, values, y);
  });
}

dim3 counters(int64_t count, uint64_t offset) {
  return blocksFor(count == 0 ? 0 : (count + static_cast<int64_t>(offset % 4) + 3) / 4);
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void random(Context& context, const RandomArgs& args) {
  const dim3 grid = counters(args.count, args.offset);
  const bool fours = args.offset % 4 == 0 && aligned(args.y);
  if (args.kind == Distribution::normal)
    return context.launch(normalKernel, grid, dim3(kThreads), 0, args.count, fours, args.seed,
                          args.offset, args.a, args.b, args.y);
  // a + (b - a) * u may round up to b, which is not in [a, b).
  const float last = args.b > args.a ? std::nextafter(args.b, args.a) : args.a;
  context.launch(uniformKernel, grid, dim3(kThreads), 0, args.count, fours, args.seed, args.offset,
                 args.a, args.b, last, args.y);
}

void dropout(Context& context, const DropoutArgs& args) {
  context.launch(dropoutKernel, counters(args.count, args.offset), dim3(kThreads), 0, args.count,
                 args.offset % 4 == 0 && aligned(args.x, args.y), args.seed, args.offset, args.p,
                 1.0f / (1.0f - args.p), args.x, args.y);
}

}  // namespace cuda
}  // namespace einlinear
