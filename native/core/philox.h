// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3" (SC 2011): four 32-bit words for every (key, counter), with no state.
//
// Element i of a stream is word i % 4 of counter i / 4 under the key `seed`, so it depends on
// (seed, i) only, however the work is cut. Every backend includes this file.
#pragma once

#include <math.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define EINLINEAR_PHILOX static __host__ __device__ inline
#else
#define EINLINEAR_PHILOX static inline
#endif

namespace einlinear {

constexpr int kPhiloxRounds = 10;
constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxStep0 = 0x9E3779B9u, kPhiloxStep1 = 0xBB67AE85u;  // of the key, a round

struct PhiloxWords {
  uint32_t at[4];
};

EINLINEAR_PHILOX PhiloxWords philox(uint64_t seed, uint64_t counter) {
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
  uint32_t c2 = 0, c3 = 0;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = uint64_t{kPhiloxMultiplier0} * c0, p1 = uint64_t{kPhiloxMultiplier1} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += kPhiloxStep0;
    k1 += kPhiloxStep1;
  }
  return PhiloxWords{{c0, c1, c2, c3}};
}

// Uniform in [0, 1): a multiple of 2^-24.
EINLINEAR_PHILOX float philoxUniform(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f;
}

// Two independent standard normals from two words (Box-Muller). The radius uses all 32 bits, so
// that the tail reaches 6.7 standard deviations.
EINLINEAR_PHILOX void philoxNormal(uint32_t first, uint32_t second, float* even, float* odd) {
  const float u = static_cast<float>(first) * 0x1p-32f + 0x1p-33f;
  const float radius = sqrtf(-2.0f * logf(u));
  const float angle = 6.28318530717958648f * philoxUniform(second);
  *even = radius * cosf(angle);
  *odd = radius * sinf(angle);
}

}  // namespace einlinear
