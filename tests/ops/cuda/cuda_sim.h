// Runs CUDA kernels on a processor, from the same source: with this header included first, a C++ compiler takes a .cu
// file of src/ops/cuda for C++. For tests of results, not of speed.
//
// Threads of a block are fibers of one system thread, started in an order that changes from block to block, so that a
// result which leans on an order without a barrier comes out wrong. An error (CudaSimError, thrown by launch) is: a
// barrier that some threads of the block never reach, threads at different barriers at once, a warp whose lanes are not
// all at one shuffle, a fault in sizes that a GPU would refuse. Dynamic shared memory is a heap block of the very size
// that was asked for, full of NaN, so the address sanitizer sees what lies outside; static shared memory is static.
// Every collective of a warp must have all 32 lanes.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

#define CAIRN_CUDA_SIM 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

struct CudaSimError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace cuda_sim {

void launch(dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread);
int64_t launches();  // of all time

void* dynamic_shared();
void sync_block(int line);
// What every lane of this warp has given, once all have; good until the next collective. At most 64 bytes.
struct Slot {
  alignas(16) std::byte bytes[64];
};
const Slot* exchange(const void* data, size_t bytes, int line);
int lane();

template <class T>
T shuffle(T value, int from, int line) {
  const Slot* all = exchange(&value, sizeof value, line);
  if (from >= 0 && from < 32) std::memcpy(&value, all[from].bytes, sizeof value);
  return value;
}

// mma.sync.aligned.m16n8k16.row.col.f32: fragments as the PTX ISA lays them out, 16-bit factors made floats by `wide`.
void mma_16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float (*wide)(uint16_t), int line);
// ldmatrix.sync.aligned.m8n8.x2(.trans).shared.b16: lanes 0 to 15 say where the rows lie.
void load_matrix_x2(uint32_t (&out)[2], const void* row, bool transposed, int line);

}  // namespace cuda_sim

inline void __syncthreads(int line = __builtin_LINE()) { cuda_sim::sync_block(line); }
inline void __syncwarp(unsigned = ~0u, int line = __builtin_LINE()) { cuda_sim::exchange(nullptr, 0, line); }
template <class T>
T __shfl_xor_sync(unsigned, T v, int mask, int = 32, int line = __builtin_LINE()) {
  return cuda_sim::shuffle(v, cuda_sim::lane() ^ mask, line);
}
template <class T>
T __shfl_down_sync(unsigned, T v, unsigned by, int = 32, int line = __builtin_LINE()) {
  return cuda_sim::shuffle(v, cuda_sim::lane() + static_cast<int>(by), line);
}
template <class T>
T __shfl_up_sync(unsigned, T v, unsigned by, int = 32, int line = __builtin_LINE()) {
  return cuda_sim::shuffle(v, cuda_sim::lane() - static_cast<int>(by), line);
}
template <class T>
T __shfl_sync(unsigned, T v, int from, int = 32, int line = __builtin_LINE()) {
  return cuda_sim::shuffle(v, from & 31, line);
}
inline unsigned __ballot_sync(unsigned, int predicate, int line = __builtin_LINE()) {
  const cuda_sim::Slot* all = cuda_sim::exchange(&predicate, sizeof predicate, line);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) {
    int p;
    std::memcpy(&p, all[i].bytes, sizeof p);
    bits |= static_cast<unsigned>(p != 0) << i;
  }
  return bits;
}

template <class T>
T atomicAdd(T* at, T by) {
  const T before = *at;
  *at = static_cast<T>(before + by);
  return before;
}
template <class T>
T atomicMin(T* at, T with) {
  const T before = *at;
  if (with < before) *at = with;
  return before;
}
template <class T>
T atomicOr(T* at, T with) {
  const T before = *at;
  *at = before | with;
  return before;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __expf(float x) { return std::exp(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }

struct __nv_bfloat16 {
  uint16_t bits;
};
struct __half {
  uint16_t bits;
};
float __bfloat162float(__nv_bfloat16 x);
__nv_bfloat16 __float2bfloat16_rn(float x);
float __half2float(__half x);
__half __float2half_rn(float x);
