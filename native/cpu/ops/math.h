// Elementary functions of a vector of floats, within about 2 units in the last place over the whole
// range, infinities, NaN and subnormal numbers included.
//
// The polynomials are minimax fits of relative error below 1e-8 (Remez), made for these ranges.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "../isa.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {

typedef uint32_t UVec __attribute__((vector_size(kWidth * 4)));

constexpr float kInfinity = __builtin_inff();

static inline Vec abs(Vec x) { return (Vec)((IVec)x & 0x7fffffff); }

static inline Vec sqrt(Vec x) {
#if defined(EINLINEAR_ISA_AVX512)
  return (Vec)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);
#elif defined(EINLINEAR_ISA_AVX2)
  return (Vec)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__) || defined(_M_X64)
  return (Vec)_mm_sqrt_ps((__m128)x);
#else
  Vec y;
  for (int i = 0; i < kWidth; ++i) y[i] = __builtin_sqrtf(x[i]);
  return y;
#endif
}

// exp(x + tail) for a small tail, a correction of x below its last place.
static inline Vec exp(Vec x, Vec tail) {
  const IVec zero = x < -104.0f;  // below half of the smallest subnormal number
  x = zero ? Vec{} : x;
  x = x > 89.0f ? splat(89.0f) : x;    // overflows all the same, and NaN stays
  const Vec shift = splat(0x1.8p23f);  // adding it rounds to a whole number, held in the low bits
  const Vec shifted = x * 1.44269504f + shift;
  const Vec n = shifted - shift;
  const Vec f = (x - n * 0.693359375f) - n * -2.12194440e-4f + tail;  // ln 2 in two parts
  Vec q = splat(1.381016569e-03f);
  q = q * f + 8.370857686e-03f;
  q = q * f + 4.166860133e-02f;
  q = q * f + 1.666650176e-01f;
  q = q * f + 4.999999106e-01f;
  const Vec power = (q * (f * f) + f) + 1.0f;
  // 2^n in two factors, since n may be beyond the exponents a float can hold.
  const IVec whole = (IVec)shifted - (IVec)shift;
  const IVec half = whole >> 1;
  const Vec y = power * (Vec)((UVec)(half + 127) << 23) * (Vec)((UVec)(whole - half + 127) << 23);
  return zero ? Vec{} : y;
}

static inline Vec exp(Vec x) { return exp(x, Vec{}); }

static inline Vec log(Vec x) {
  const IVec small = x < 0x1p-126f;
  const UVec bits = (UVec)(small ? x * 0x1p23f : x);
  // x = 2^e * m with m in [sqrt(1/2), sqrt(2))
  const IVec high = (IVec)(bits - 0x3f3504f3u);
  const Vec m = (Vec)((high & 0x007fffff) + 0x3f3504f3);
  const Vec e = __builtin_convertvector((high >> 23) - (small & 23), Vec);
  const Vec s = m - 1.0f;
  Vec p = splat(6.746646762e-02f);
  p = p * s + -1.167565435e-01f;
  p = p * s + 1.188816056e-01f;
  p = p * s + -1.240558848e-01f;
  p = p * s + 1.421955228e-01f;
  p = p * s + -1.666799635e-01f;
  p = p * s + 2.000211924e-01f;
  p = p * s + -2.500000894e-01f;
  p = p * s + 3.333331347e-01f;
  const Vec s2 = s * s;
  Vec y = (p * s * s2 + e * -2.12194440e-4f) - 0.5f * s2;
  y = (s + y) + e * 0.693359375f;
  y = x < kInfinity ? y : x;  // infinity and NaN
  y = x < 0.0f ? splat(__builtin_nanf("")) : y;
  return x == 0.0f ? splat(-kInfinity) : y;
}

static inline Vec tanh(Vec x) {
  const Vec t = abs(x);
  const Vec z = x * x;
  Vec p = splat(-5.717047956e-03f);
  p = p * z + 2.065058984e-02f;
  p = p * z + -5.374350026e-02f;
  p = p * z + 1.333149076e-01f;
  p = p * z + -3.333328366e-01f;
  const Vec near = x + x * (z * p);
  const Vec far = 1.0f - 2.0f / (exp(t + t) + 1.0f);
  const Vec signedFar = (Vec)((IVec)far | ((IVec)x & (-0x7fffffff - 1)));
  return t < 0.625f ? near : signedFar;
}

static inline Vec sigmoid(Vec x) {
  const Vec e = exp(-abs(x));
  return (x < 0.0f ? e : splat(1.0f)) / (1.0f + e);
}

// The normal distribution: its density at x times sqrt(2 pi), and its integral from -infinity to x,
// which is (1 + erf(x / sqrt 2)) / 2 with full relative precision in the lower tail.
struct Normal {
  Vec bell, integral;
};

static inline Normal normal(Vec x) {
  const Vec t = abs(x);
  // exp(-t^2 / 2) with t^2 exact: the square of t's upper 12 bits, and the rest.
  const Vec top = (Vec)((IVec)t & ~0xfff);
  const Vec rest = (t - top) * (t + top);
  const Vec bell = exp(-0.5f * (top * top), t < 16.0f ? -0.5f * rest : Vec{});
  const Vec u = 1.0f / (1.0f + 0.5f * t);
  Vec p = splat(4.997436702e-02f);
  p = p * u + -2.855639756e-01f;
  p = p * u + 5.848808289e-01f;
  p = p * u + -4.960954189e-01f;
  p = p * u + 7.406982780e-02f;
  p = p * u + 2.021845058e-02f;
  p = p * u + 1.534909457e-01f;
  p = p * u + 1.991896480e-01f;
  p = p * u + 1.994797438e-01f;
  const Vec tail = bell * (u * p);
  const Vec z = x * x;
  Vec q = splat(-7.530658877e-06f);
  q = q * z + 1.131446770e-04f;
  q = q * z + -1.185985864e-03f;
  q = q * z + 9.973171167e-03f;
  q = q * z + -6.649032980e-02f;
  q = q * z + 3.989422917e-01f;
  const Vec far = x < 0.0f ? tail : 1.0f - tail;
  return Normal{bell, t < 1.0f ? q * x + 0.5f : far};
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
