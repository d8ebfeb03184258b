// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3" (SC 2011): four 32-bit words for every (key, counter), with no state.
//
// Element i of a stream is word i % 4 of counter i / 4 under the key `seed`, so it depends on
// (seed, i) only, however the work is cut. Every backend includes this file.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

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

EINLINEAR_PHILOX uint64_t philoxBits(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

EINLINEAR_PHILOX double philoxDouble(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Two independent standard normals from two words (Box-Muller). The radius uses all 32 bits, so
// that the tail reaches 6.7 standard deviations.
//
// Every compiler has to give the same bits, so nothing here is left to a math library, nor to a
// compiler's choice of where to fuse a product and a sum: the sums of products are spelt fma, and
// no other product is added to anything. In double precision, to within 1e-11, and without
// branches, so that loops over it become vector code.
EINLINEAR_PHILOX void philoxNormal(uint32_t first, uint32_t second, float* even, float* odd) {
  // (first + 1/2) / 2^32, by way of a signed number, which more processors can convert.
  const double u = (static_cast<int32_t>(first ^ 0x80000000u) + 0x1.00000001p31) * 0x1p-32;
  // Its logarithm: u = 2^e m with m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1), and
  // log m = 2 (s + s^3 / 3 + s^5 / 5 + ...). The exponent becomes a double by way of its low bits.
  constexpr uint64_t kRootHalf = 0x3fe6a09e667f3bcdu, kMantissa = 0xfffffffffffffu;
  const uint64_t high = philoxBits(u) - kRootHalf;
  const uint64_t exponent = (high + (uint64_t{1024} << 52)) >> 52;
  const double e = philoxDouble(0x4330000000000000u | exponent) - (0x1p52 + 1024.0);
  const double m = philoxDouble((high & kMantissa) + kRootHalf);
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = fma(z, 0.15384615384615385, 0.18181818181818182);
  p = fma(z, p, 0.2222222222222222);
  p = fma(z, p, 0.2857142857142857);
  p = fma(z, p, 0.4);
  p = fma(z, p, 0.6666666666666666);
  const double logarithm = fma(e, 0.6931471805599453, fma(s * z, p, s + s));
  const double radius = sqrt(-2.0 * logarithm);
  // The angle is r quarter turns, |r| <= 1/2, beyond a whole number of them.
  const int32_t turn = static_cast<int32_t>(second >> 8);  // of 2^24
  const int32_t quarter = (turn + 0x200000) >> 22;
  const double r = (turn - quarter * 0x400000) * 0x1p-22, y = r * r;
  double c = fma(y, -6.386603083791852e-09, 4.710874778818172e-07);
  c = fma(y, c, -2.5202042373060607e-05);
  c = fma(y, c, 0.0009192602748394266);
  c = fma(y, c, -0.02086348076335296);
  c = fma(y, c, 0.25366950790104803);
  c = fma(y, c, -1.2337005501361697);
  c = fma(y, c, 1.0);
  double t = fma(y, 5.692172921967927e-08, -3.598843235212085e-06);
  t = fma(y, t, 0.00016044118478735983);
  t = fma(y, t, -0.004681754135318688);
  t = fma(y, t, 0.07969262624616705);
  t = fma(y, t, -0.6459640975062463);
  t = fma(y, t, 1.5707963267948966);
  t = r * t;
  const double cosine = (quarter & 1) != 0 ? t : c, sine = (quarter & 1) != 0 ? c : t;
  *even = static_cast<float>(radius * (((quarter + 1) & 2) != 0 ? -cosine : cosine));
  *odd = static_cast<float>(radius * ((quarter & 2) != 0 ? -sine : sine));
}

}  // namespace einlinear
