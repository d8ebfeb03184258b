// Wrapper conformance: runs every wrapper of native/cuda/include/gpu, and the few language features
// that the emulation stands in for, on fixed inputs, and prints what came out, a wrapper a line.
// Built twice, for the device and for the emulation, the two must print the same
// (scripts/gpu-check.mjs compares).
//
// Inputs of products are small whole numbers, so that the order of the sums does not matter.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gpu/async_copy.h>
#include <gpu/launch.h>
#include <gpu/mma.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../core/philox.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int kLanes = 32;

// A whole number from -8 to 7, different for each (i, salt).
__device__ inline float small(int i, int salt) {
  return static_cast<float>(
      static_cast<int>(philox(7, static_cast<uint64_t>(i * 64 + salt)).at[0] % 16u) - 8);
}

__device__ inline float fromBits(uint32_t bits) { return __uint_as_float(bits); }

// Bit patterns that rounding gets wrong first: ties, carries, subnormals, infinities, NaN.
__device__ inline uint32_t pattern(int i) {
  const uint32_t random = philox(11, static_cast<uint64_t>(i)).at[0];
  switch (i % 8) {
    case 0:
      return (random & 0xffff0000u) | 0x8000u;
    case 1:
      return (random & 0xffffe000u) | 0x1000u;
    case 2:
      return random & 0x807fffffu;
    case 3:
      return random | 0x7f7f0000u;
    case 4:
      return i % 16 < 8 ? 0x7f800000u : 0xff800000u;
    default:
      return random;
  }
}

// out[lane * 4 ..]
__global__ void copies(const uint4* from, uint32_t* out) {
  alignas(16) __shared__ uint4 to[kLanes];
  alignas(16) __shared__ uint32_t words[kLanes];
  const int lane = static_cast<int>(threadIdx.x);
  copyAsync16(to + lane, from + lane, lane % 3 != 0);
  commitCopies();
  copyAsync4(words + lane, reinterpret_cast<const uint32_t*>(from) + lane, lane % 5 != 0);
  commitCopies();
  waitForCopies<1>();
  __syncthreads();
  const uint4 other = to[kLanes - 1 - lane];
  waitForCopies<0>();
  __syncthreads();
  out[4 * lane] = other.x;
  out[4 * lane + 1] = other.y;
  out[4 * lane + 2] = other.z + other.w;
  out[4 * lane + 3] = words[lane ^ 1];
}

template <bool Transposed>
__global__ void matrices(const uint4*, uint32_t* out) {
  alignas(16) __shared__ uint16_t rows[kLanes][8];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) rows[lane][i] = static_cast<uint16_t>(lane * 8 + i);
  __syncthreads();
  uint32_t r[4];
  if (Transposed)
    loadMatricesTransposed(r, rows[lane]);
  else
    loadMatrices(r, rows[lane]);
  for (int i = 0; i < 4; ++i) out[4 * lane + i] = r[i];
}

template <bool Bf16>
__global__ void products(const uint4*, uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  float d[4];
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; ++i) {
    d[i] = small(lane, i);
    a[i] = Bf16 ? packBf16(small(lane, 4 + i), small(lane, 8 + i)) : toTf32(small(lane, 4 + i));
  }
  for (int i = 0; i < 2; ++i)
    b[i] = Bf16 ? packBf16(small(lane, 12 + i), small(lane, 14 + i)) : toTf32(small(lane, 12 + i));
  if (Bf16)
    multiplyBf16(d, a, b[0], b[1]);
  else
    multiplyTf32(d, a, b[0], b[1]);
  for (int i = 0; i < 4; ++i) out[4 * lane + i] = __float_as_uint(d[i]);
}

__global__ void rounding(const uint4*, uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 4; ++i) {
    const float value = fromBits(pattern(4 * lane + i));
    const uint32_t tf32 = toTf32(value), bf16 = packBf16(value, -value);
    // All NaNs are one, and tf32 registers may hold anything below their last bit.
    out[4 * lane + i] = value != value ? 0xffffffffu : (tf32 & 0xffffe000u) ^ bf16;
  }
}

__global__ void lanes(const uint4*, uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const int mine = 1000 + 7 * lane;
  out[4 * lane] = static_cast<uint32_t>(__shfl_xor_sync(~0u, mine, 5));
  out[4 * lane + 1] = static_cast<uint32_t>(__shfl_down_sync(~0u, mine, 3u)) * 65536u +
                      static_cast<uint32_t>(__shfl_up_sync(~0u, mine, 2u));
  out[4 * lane + 2] = static_cast<uint32_t>(__shfl_sync(~0u, mine, 17));
  out[4 * lane + 3] = __ballot_sync(~0u, lane % 3 == 1);
}

__global__ void generator(const uint4*, uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const PhiloxWords words = philox(0x123456789abcdefu, static_cast<uint64_t>(lane) << 30);
  for (int i = 0; i < 4; ++i) out[4 * lane + i] = words.at[i];
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

void run(const char* name, void (*kernel)(const uint4*, uint32_t*)) {
  constexpr size_t kBytes = kLanes * sizeof(uint4);
  cudaStream_t stream;
  void *in, *out;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), name);
  check(cudaMallocAsync(&in, kBytes, stream), name);
  check(cudaMallocAsync(&out, kBytes, stream), name);
  std::vector<uint32_t> words(kBytes / 4);
  for (size_t i = 0; i < words.size(); ++i) words[i] = philox(3, i).at[0];
  check(cudaMemcpyAsync(in, words.data(), kBytes, cudaMemcpyHostToDevice, stream), name);
  launchKernel(kernel, dim3(1), dim3(kLanes), 0, stream,
               std::tuple<const uint4*, uint32_t*>(static_cast<const uint4*>(in),
                                                   static_cast<uint32_t*>(out)));
  check(cudaGetLastError(), name);
  check(cudaMemcpyAsync(words.data(), out, kBytes, cudaMemcpyDeviceToHost, stream), name);
  check(cudaStreamSynchronize(stream), name);
  std::printf("%s", name);
  for (const uint32_t word : words) std::printf(" %08x", word);
  std::printf("\n");
  check(cudaFreeAsync(in, stream), name);
  check(cudaFreeAsync(out, stream), name);
  check(cudaStreamDestroy(stream), name);
}

}  // namespace
}  // namespace cuda
}  // namespace einlinear

int main() {
  using namespace einlinear::cuda;
  run("copyAsync", copies);
  run("loadMatrices", matrices<false>);
  run("loadMatricesTransposed", matrices<true>);
  run("multiplyBf16", products<true>);
  run("multiplyTf32", products<false>);
  run("rounding", rounding);
  run("lanes", lanes);
  run("philox", generator);
  return 0;
}
