// The products of attention, for one warp: exact float32, tf32 and bfloat16 under one interface.
//
// A warp holds matrices as fragments of 16 x 8 elements, four a lane: float d[M][N][4] is a matrix
// of 16 M rows and 8 N columns. Which four a lane has is the arithmetic's own choice:
//   row(slot(e))             of element e, within the fragment
//   column(n, e)             of element e of fragment n, where multiplyRows has made the matrix
//   kRowLanes                neighbouring lanes that share their rows
//   multiplyRows(d, a, b)    d += a b^T; a [16 M, K] and b [8 N, K] are tiles in shared memory
//   multiplyScores(d, p, b)  d += p b; p as multiplyRows leaves it [16 M, 8 C], b [8 C, 8 N] a tile
//   write(...)               puts the rows of a slot, made by multiplyScores, into global memory
// A tile has rows of K + kPadding elements, so that none of the reads below conflict.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gpu/mma.h>

namespace einlinear {
namespace cuda {

__device__ inline int lane() { return static_cast<int>(threadIdx.x) % 32; }

// ---- float32: 4 x 8 lanes, with every fourth row and every eighth column each ------------------

struct Float32 {
  using Element = float;
  static constexpr bool kTensorCore = false;
  static constexpr int kPadding = 4, kSlots = 4, kRowLanes = 8;
  // Floats of shared memory a warp needs to pass scores [16 M, 8 C] between its lanes.
  template <int M, int C>
  static constexpr int kWeights = 16 * M * (8 * C + kPadding);

  __device__ static int slot(int e) { return e; }
  __device__ static int row(int slot) { return 4 * slot + lane() / 8; }
  __device__ static int column(int n, int) { return 8 * n + lane() % 8; }
  __device__ static void store(Element* to, float4 x) { *reinterpret_cast<float4*>(to) = x; }

  template <int K, int M, int N>
  __device__ static void multiplyRows(float (&d)[M][N][4], const Element* a, const Element* b) {
    constexpr int kStride = K + kPadding;
    a += lane() / 8 * kStride;
    b += lane() % 8 * kStride;
#pragma unroll 2
    for (int k = 0; k < K; k += 4) {
      float4 left[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int e = 0; e < 4; ++e) left[m][e] = read(a + (16 * m + 4 * e) * kStride + k);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float4 right = read(b + 8 * n * kStride + k);
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            float& sum = d[m][n][e];
            sum += left[m][e].x * right.x;
            sum += left[m][e].y * right.y;
            sum += left[m][e].z * right.z;
            sum += left[m][e].w * right.w;
          }
      }
    }
  }

  // Columns of d: fragments 4 j to 4 j + 3 are the columns 32 j + 4 (lane % 8) and on.
  template <int M, int C, int N>
  __device__ static void multiplyScores(float (&d)[M][N][4], const float (&p)[M][C][4],
                                        const Element* b, float* weights) {
    constexpr int kStride = 8 * N + kPadding, kWeightStride = 8 * C + kPadding;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int c = 0; c < C; ++c)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          weights[(16 * m + row(e)) * kWeightStride + column(c, e)] = p[m][c][e];
    __syncwarp();
    const float* left = weights + lane() / 8 * kWeightStride;
    b += lane() % 8 * 4;
#pragma unroll 1
    for (int k = 0; k < 8 * C; k += 4) {
      float scores[M][4][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float4 four = read(left + (16 * m + 4 * e) * kWeightStride + k);
          scores[m][e][0] = four.x;
          scores[m][e][1] = four.y;
          scores[m][e][2] = four.z;
          scores[m][e][3] = four.w;
        }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int n = 0; n < N; n += 4) {
          const float4 right = read(b + (k + i) * kStride + 8 * n);
#pragma unroll
          for (int m = 0; m < M; ++m)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              d[m][n][e] += scores[m][e][i] * right.x;
              d[m][n + 1][e] += scores[m][e][i] * right.y;
              d[m][n + 2][e] += scores[m][e][i] * right.z;
              d[m][n + 3][e] += scores[m][e][i] * right.w;
            }
        }
    }
    __syncwarp();  // before the next scores
  }

  // to[width] = the row of `slot`, times factor
  template <int N>
  __device__ static void write(const float (&d)[N][4], int slot, float factor, float* to, int width,
                               bool vectors) {
#pragma unroll
    for (int n = 0; n < N; n += 4) {
      const int at = 8 * n + lane() % 8 * 4;
      if (vectors) {
        if (at < width)
          *reinterpret_cast<float4*>(to + at) =
              make_float4(d[n][slot] * factor, d[n + 1][slot] * factor, d[n + 2][slot] * factor,
                          d[n + 3][slot] * factor);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (at + i < width) to[at + i] = d[n + i][slot] * factor;
      }
    }
  }

 private:
  __device__ static float4 read(const float* from) {
    return *reinterpret_cast<const float4*>(from);
  }
};

// ---- tensor cores: 8 x 4 lanes, the fragments of mma.h -----------------------------------------

struct TensorCore {
  static constexpr bool kTensorCore = true;
  static constexpr int kSlots = 2, kRowLanes = 4;
  template <int M, int C>
  static constexpr int kWeights = 0;

  __device__ static int slot(int e) { return e / 2; }
  __device__ static int row(int slot) { return 8 * slot + lane() / 4; }
  __device__ static int column(int n, int e) { return 8 * n + lane() % 4 * 2 + e % 2; }

  template <int N>
  __device__ static void write(const float (&d)[N][4], int slot, float factor, float* to, int width,
                               bool vectors) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const int at = column(n, 0);
      const float2 pair = make_float2(d[n][2 * slot] * factor, d[n][2 * slot + 1] * factor);
      if (vectors) {
        if (at < width) *reinterpret_cast<float2*>(to + at) = pair;
      } else {
        if (at < width) to[at] = pair.x;
        if (at + 1 < width) to[at + 1] = pair.y;
      }
    }
  }
};

struct Tf32 : TensorCore {
  using Element = uint32_t;
  static constexpr int kPadding = 4;

  __device__ static void store(Element* to, float4 x) {
    *reinterpret_cast<uint4*>(to) = make_uint4(toTf32(x.x), toTf32(x.y), toTf32(x.z), toTf32(x.w));
  }

  template <int K, int M, int N>
  __device__ static void multiplyRows(float (&d)[M][N][4], const Element* a, const Element* b) {
    constexpr int kStride = K + kPadding;
    a += lane() / 4 * kStride + lane() % 4;
    b += lane() / 4 * kStride + lane() % 4;
#pragma unroll 4
    for (int k = 0; k < K; k += 8) {
      uint32_t left[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) left[m][i] = a[(16 * m + i % 2 * 8) * kStride + k + i / 2 * 4];
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const uint32_t* right = b + 8 * n * kStride + k;
#pragma unroll
        for (int m = 0; m < M; ++m) multiplyTf32(d[m][n], left[m], right[0], right[4]);
      }
    }
  }

  // A lane has the scores of columns 2 t and 2 t + 1, and an operand wants those of t and t + 4: we
  // let the product sum over the columns in that other order, for both operands.
  template <int M, int C, int N>
  __device__ static void multiplyScores(float (&d)[M][N][4], const float (&p)[M][C][4],
                                        const Element* b, float*) {
    constexpr int kStride = 8 * N + kPadding;
    b += lane() % 4 * 2 * kStride + lane() / 4;
#pragma unroll
    for (int c = 0; c < C; ++c) {
      uint32_t left[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) left[m][i] = toTf32(p[m][c][i % 2 * 2 + i / 2]);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const uint32_t* right = b + 8 * c * kStride + 8 * n;
#pragma unroll
        for (int m = 0; m < M; ++m) multiplyTf32(d[m][n], left[m], right[0], right[kStride]);
      }
    }
  }
};

struct Bfloat16 : TensorCore {
  using Element = __nv_bfloat16;
  static constexpr int kPadding = 8;

  __device__ static void store(Element* to, float4 x) {
    *reinterpret_cast<uint2*>(to) = make_uint2(packBf16(x.x, x.y), packBf16(x.z, x.w));
  }

  template <int K, int M, int N>
  __device__ static void multiplyRows(float (&d)[M][N][4], const Element* a, const Element* b) {
    constexpr int kStride = K + kPadding;
    a += lane() % 16 * kStride + lane() / 16 * 8;
    b += (lane() / 16 * 8 + lane() % 8) * kStride + lane() / 8 % 2 * 8;
#pragma unroll 4
    for (int k = 0; k < K; k += 16) {
      uint32_t left[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m) loadMatrices(left[m], a + 16 * m * kStride + k);
#pragma unroll
      for (int n = 0; n < N; n += 2) {
        uint32_t right[4];
        loadMatrices(right, b + 8 * n * kStride + k);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          multiplyBf16(d[m][n], left[m], right[0], right[1]);
          multiplyBf16(d[m][n + 1], left[m], right[2], right[3]);
        }
      }
    }
  }

  template <int M, int C, int N>
  __device__ static void multiplyScores(float (&d)[M][N][4], const float (&p)[M][C][4],
                                        const Element* b, float*) {
    constexpr int kStride = 8 * N + kPadding;
    b += lane() % 16 * kStride + lane() / 16 * 8;
#pragma unroll
    for (int c = 0; c < C; c += 2) {
      uint32_t left[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&pair)[4] = p[m][c + i / 2];
          left[m][i] = packBf16(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
        }
#pragma unroll
      for (int n = 0; n < N; n += 2) {
        uint32_t right[4];
        loadMatricesTransposed(right, b + 8 * c * kStride + 8 * n);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          multiplyBf16(d[m][n], left[m], right[0], right[1]);
          multiplyBf16(d[m][n + 1], left[m], right[2], right[3]);
        }
      }
    }
  }
};

}  // namespace cuda
}  // namespace einlinear
