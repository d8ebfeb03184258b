// Stands in for the CUDA toolkit's header of the same name, so that the sources of native/cuda
// compile as C++17 and run on the CPU. It holds what they use and no more. A stream is a thread;
// memory comes from the heap, filled with NaN, so that AddressSanitizer sees every access beyond
// it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../block.h"

// ---- language -----------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static thread_local  // a block never leaves its OS thread
#define __constant__ static const

#define threadIdx (::emulation::Block::current().thread().index)
#define blockIdx (::emulation::Block::current().index)
#define blockDim (::emulation::Block::current().dimensions)
#define gridDim (::emulation::Block::current().grid)

inline void __syncthreads() { emulation::Block::current().barrier(0, -1); }
inline void __syncwarp(unsigned mask = ~0u) {
  emulation::Block::current().meet(emulation::Wait::syncWarp, mask, nullptr, nullptr);
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

namespace emulation {

struct Shuffled {
  uint64_t in, out;
  int source;
};
inline void shuffle(void* const* arguments, uint32_t mask) {
  for (int lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Shuffled& each = *static_cast<Shuffled*>(arguments[lane]);
    // What a lane outside the mask holds is undefined: NaN.
    each.out = (mask >> each.source & 1) != 0 ? static_cast<Shuffled*>(arguments[each.source])->in
                                              : 0xffffffffffffffffu;
  }
}
template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a register or two");
  Shuffled mine{0, 0, source};
  std::memcpy(&mine.in, &value, sizeof value);
  Block::current().meet(Wait::shuffle, mask, &mine, static_cast<Block::Work>(shuffle));
  std::memcpy(&value, &mine.out, sizeof value);
  return value;
}

struct Vote {
  bool yes;
  uint32_t all;
};
inline void vote(void* const* arguments, uint32_t mask) {
  uint32_t all = 0;
  for (int lane = 0; lane < kWarp; ++lane)
    if ((mask >> lane & 1) != 0 && static_cast<Vote*>(arguments[lane])->yes) all |= 1u << lane;
  for (int lane = 0; lane < kWarp; ++lane)
    if ((mask >> lane & 1) != 0) static_cast<Vote*>(arguments[lane])->all = all;
}

}  // namespace emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return emulation::shuffle(mask, value, source & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return emulation::shuffle(mask, value, (emulation::Block::current().lane() ^ bits) & 31);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  const int lane = emulation::Block::current().lane(), source = lane + static_cast<int>(by);
  return emulation::shuffle(mask, value, source < 32 ? source : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  const int lane = emulation::Block::current().lane(), source = lane - static_cast<int>(by);
  return emulation::shuffle(mask, value, source >= 0 ? source : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  emulation::Vote mine{predicate != 0, 0};
  emulation::Block::current().meet(emulation::Wait::vote, mask, &mine, emulation::vote);
  return mine.all;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }

inline int atomicAdd(int* p, int v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline int atomicCAS(int* p, int expected, int v) {
  __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float normcdff(float x) { return static_cast<float>(0.5 * erfc(-x * 0.70710678118654752)); }
inline float __int_as_float(int i) {
  float f;
  std::memcpy(&f, &i, sizeof f);
  return f;
}
inline int __float_as_int(float f) {
  int i;
  std::memcpy(&i, &f, sizeof i);
  return i;
}
inline unsigned __float_as_uint(float f) { return static_cast<unsigned>(__float_as_int(f)); }
inline float __uint_as_float(unsigned u) { return __int_as_float(static_cast<int>(u)); }

// ---- run time -----------------------------------------------------------------------------------

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice
};
enum cudaDeviceAttr {
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMemoryPoolsSupported
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold, cudaMemPoolAttrReservedMemCurrent };

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
};

namespace emulation {
class Stream;
struct Event;
struct MemoryPool;
}  // namespace emulation
typedef emulation::Stream* cudaStream_t;
typedef emulation::Event* cudaEvent_t;
typedef emulation::MemoryPool* cudaMemPool_t;

constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventBlockingSync = 1, cudaEventDisableTiming = 2;

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
cudaError_t cudaMallocHost(void** memory, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);

namespace emulation {
// Queues a grid; `body` is the kernel with its arguments.
void launchGrid(cudaStream_t stream, dim3 grid, dim3 block, size_t sharedBytes,
                std::function<void()> body);
}  // namespace emulation
