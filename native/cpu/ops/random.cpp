// random and dropout: element i of a call is element offset + i of the Philox stream of its seed.
//
// Every build and backend gives the same bits: see philoxNormal, and the fma below.
// Cost: 20 integer products for 4 elements, done for many counters side by side; a normal also
// takes half a logarithm, a sine and a square root.
#include "../../core/philox.h"
#include "ops.h"
#include "vectors.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

typedef uint64_t Wide __attribute__((vector_size(kWidth * 4)));
typedef uint64_t WideU __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

constexpr int kLanes = kWidth / 2;  // counters in a vector
constexpr int kVectors = 4;         // of them worked on at a time, to hide the products' latency
constexpr int kWords = 4 * kLanes * kVectors;

// The low 32 bits of every lane times m, all 64 bits of it.
inline Wide product(Wide a, uint32_t m) {
#if defined(EINLINEAR_ISA_AVX512)
  return (Wide)_mm512_maskz_mul_epu32(0xff, (__m512i)a, _mm512_set1_epi64(m));
#elif defined(EINLINEAR_ISA_AVX2)
  return (Wide)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#elif defined(__x86_64__) || defined(_M_X64)
  return (Wide)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#else
  return (a & 0xffffffffu) * m;
#endif
}

// philox() of the kWords / 4 counters from `counter` on. A word of the state is the low half of a
// lane; what gathers in the high half never comes down.
void philoxBlock(uint64_t seed, uint64_t counter, uint32_t* words) {
  Wide c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    Wide c;
    for (int lane = 0; lane < kLanes; ++lane)
      c[lane] = counter + static_cast<uint64_t>(v * kLanes + lane);
    c0[v] = c;
    c1[v] = c >> 32;
    c2[v] = c3[v] = Wide{};
  }
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    for (int v = 0; v < kVectors; ++v) {
      const Wide p0 = product(c0[v], kPhiloxMultiplier0), p1 = product(c2[v], kPhiloxMultiplier1);
      c0[v] = (p1 >> 32) ^ c1[v] ^ k0;
      c2[v] = (p0 >> 32) ^ c3[v] ^ k1;
      c1[v] = p1;
      c3[v] = p0;
    }
    k0 += kPhiloxStep0;
    k1 += kPhiloxStep1;
  }
  for (int v = 0; v < kVectors; ++v) {
    uint64_t low[kLanes], high[kLanes];
    *reinterpret_cast<WideU*>(low) = (c0[v] & 0xffffffffu) | (c1[v] << 32);
    *reinterpret_cast<WideU*>(high) = (c2[v] & 0xffffffffu) | (c3[v] << 32);
    for (int lane = 0; lane < kLanes; ++lane) {
      uint32_t* out = words + 4 * (v * kLanes + lane);
      out[0] = static_cast<uint32_t>(low[lane]);
      out[1] = static_cast<uint32_t>(low[lane] >> 32);
      out[2] = static_cast<uint32_t>(high[lane]);
      out[3] = static_cast<uint32_t>(high[lane] >> 32);
    }
  }
}

// body(values, first, n): `values` for elements [first, first + n), filled a block at a time by
// convert(words, values), on the context's threads. Many blocks go to one body, so that its memory
// accesses overlap.
template <class Convert, class Body>
void stream(Context& context, int64_t count, uint64_t seed, uint64_t offset, const Convert& convert,
            const Body& body) {
  constexpr int64_t kBatch = 16 * kWords;
  context.blocks(count, kChunk, [&](int64_t begin, int64_t end) {
    uint32_t words[kWords];
    float values[kBatch];
    for (int64_t i = begin; i < end;) {
      const uint64_t element = offset + static_cast<uint64_t>(i);
      const int64_t skip = static_cast<int64_t>(element % 4);
      const int64_t n = minOf(kBatch - skip, end - i);
      for (int64_t at = 0; at < skip + n; at += kWords) {
        philoxBlock(seed, element / 4 + static_cast<uint64_t>(at / 4), words);
        convert(words, values + at);
      }
      body(values + skip, i, n);
      i += n;
    }
  });
}

void uniformBlock(const uint32_t* words, float* values) {
  for (int i = 0; i < kWords; ++i) values[i] = philoxUniform(words[i]);
}

void normalBlock(const uint32_t* words, float* values) {
  for (int i = 0; i < kWords; i += 2)
    philoxNormal(words[i], words[i + 1], values + i, values + i + 1);
}

}  // namespace

void random(Context& context, const RandomArgs& args) {
  if (args.kind == Distribution::normal) {
    stream(context, args.count, args.seed, args.offset, normalBlock,
           [&](const float* z, int64_t first, int64_t n) {
             for (int64_t i = 0; i < n; ++i)
               args.y[first + i] = __builtin_fmaf(args.b, z[i], args.a);
           });
    return;
  }
  // a + (b - a) * u may round up to b, which is not in [a, b).
  const float last = args.b > args.a ? __builtin_nextafterf(args.b, args.a) : args.a;
  stream(context, args.count, args.seed, args.offset, uniformBlock,
         [&](const float* u, int64_t first, int64_t n) {
           for (int64_t i = 0; i < n; ++i) {
             const float y = __builtin_fmaf(args.b - args.a, u[i], args.a);
             args.y[first + i] = y > last ? last : y;
           }
         });
}

void dropout(Context& context, const DropoutArgs& args) {
  const float scale = 1.0f / (1.0f - args.p);
  stream(context, args.count, args.seed, args.offset, uniformBlock,
         [&](const float* u, int64_t first, int64_t n) {
           vectors(0, n, [&](int64_t i, auto part) {
             const Vec kept = part.get(args.x + first + i) * scale;
             part.put(args.y + first + i, part.get(u + i) < args.p ? Vec{} : kept);
           });
         });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
