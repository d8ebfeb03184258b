// Tensor cores and ldmatrix on the CPU; the fragments are those of native/cuda/include/gpu/mma.h.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

namespace emulation {

struct MatrixLoad {
  unsigned char row[16];
  uint32_t* registers;
};

template <bool Transposed>
inline void loadMatrices(void* const* arguments, uint32_t) {
  const auto at = [&](int lane) -> MatrixLoad& {
    return *static_cast<MatrixLoad*>(arguments[lane]);
  };
  for (int matrix = 0; matrix < 4; ++matrix) {
    for (int lane = 0; lane < kWarp; ++lane) {
      const int g = lane / 4, t = lane % 4;
      uint16_t low, high;
      const MatrixLoad& first = at(8 * matrix + (Transposed ? 2 * t : g));
      const MatrixLoad& second = at(8 * matrix + (Transposed ? 2 * t + 1 : g));
      std::memcpy(&low, first.row + 2 * (Transposed ? g : 2 * t), 2);
      std::memcpy(&high, second.row + 2 * (Transposed ? g : 2 * t + 1), 2);
      at(lane).registers[matrix] = low | static_cast<uint32_t>(high) << 16;
    }
  }
}

template <bool Transposed>
inline void meetToLoad(uint32_t (&r)[4], const void* row) {
  if ((reinterpret_cast<uintptr_t>(row) & 15) != 0) {
    std::fprintf(stderr, "emulation: ldmatrix of a row that is not 16-byte aligned\n");
    std::abort();
  }
  MatrixLoad mine;
  std::memcpy(mine.row, row, sizeof mine.row);
  mine.registers = r;
  Block::current().meet(Wait::loadMatrix, ~0u, &mine, loadMatrices<Transposed>);
}

struct Product {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

inline float bf16At(uint32_t bits, int half) {
  return __uint_as_float(half == 0 ? bits << 16 : bits & 0xffff0000u);
}

template <int K>
inline void multiply(void* const* arguments, uint32_t) {
  constexpr bool kBf16 = K == 16;
  float a[16][K], b[K][8], d[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const Product& p = *static_cast<Product*>(arguments[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8, column = i / 2 * (K / 2) + (kBf16 ? 2 * t : t);
      a[row][column] = kBf16 ? bf16At(p.a[i], 0) : __uint_as_float(p.a[i]);
      if (kBf16) a[row][column + 1] = bf16At(p.a[i], 1);
      d[g + i / 2 * 8][2 * t + i % 2] = p.d[i];
    }
    for (int i = 0; i < 2; ++i) {
      const int row = i * (K / 2) + (kBf16 ? 2 * t : t);
      b[row][g] = kBf16 ? bf16At(p.b[i], 0) : __uint_as_float(p.b[i]);
      if (kBf16) b[row + 1][g] = bf16At(p.b[i], 1);
    }
  }
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < K; ++k)
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < kWarp; ++lane) {
    const Product& p = *static_cast<Product*>(arguments[lane]);
    for (int i = 0; i < 4; ++i) p.d[i] = d[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
  }
}

template <int K>
inline void meetToMultiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Product mine{d, a, {b0, b1}};
  Block::current().meet(Wait::mma, ~0u, &mine, multiply<K>);
}

}  // namespace emulation

namespace einlinear {
namespace cuda {

inline void loadMatrices(uint32_t (&r)[4], const void* row) {
  emulation::meetToLoad<false>(r, row);
}
inline void loadMatricesTransposed(uint32_t (&r)[4], const void* row) {
  emulation::meetToLoad<true>(r, row);
}
inline void multiplyBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulation::meetToMultiply<16>(d, a, b0, b1);
}
inline uint32_t toTf32(float value) {
  const uint32_t bits = __float_as_uint(value);
  return value != value ? 0x7fffffffu : (bits + 0x1000u) & 0xffffe000u;
}
inline void multiplyTf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulation::meetToMultiply<8>(d, a, b0, b1);
}
inline uint32_t packBf16(float low, float high) {
  return __float2bfloat16_rn(low).bits | static_cast<uint32_t>(__float2bfloat16_rn(high).bits)
                                             << 16;
}

}  // namespace cuda
}  // namespace einlinear
