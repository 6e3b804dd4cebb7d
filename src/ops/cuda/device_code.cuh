// What kernels share. Read by nvcc, and by a C++ compiler behind a header that simulates what is used of CUDA.
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "ops/cuda/kernel.h"

namespace cairn::ops::cuda {

using bf16 = __nv_bfloat16;
using f16 = __half;

inline constexpr int kWarp = 32, kChunk = 8;
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int64_t kMostBlocks = 0x7fffffff, kMostBlocksYZ = 65535;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }
__device__ inline float to_float(f16 x) { return __half2float(x); }

template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline f16 from_float<f16>(float x) {
  return __float2half_rn(x);
}

// Eight numbers from p on, of which `left` are there; the others are 0. `aligned`: p is to 16 bytes.
template <class T>
__device__ inline void load8(const T* p, int64_t left, bool aligned, float (&x)[kChunk]) {
  if (aligned && left >= kChunk) {
    constexpr int kVectors = kChunk * sizeof(T) / sizeof(uint4);
    uint4 raw[kVectors];
    T part[kChunk];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) raw[i] = reinterpret_cast<const uint4*>(p)[i];
    memcpy(part, raw, sizeof part);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) x[i] = to_float(part[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) x[i] = i < left ? to_float(p[i]) : 0.0f;
}

template <class T>
__device__ inline void store8(T* p, int64_t left, bool aligned, const float (&x)[kChunk]) {
  if (aligned && left >= kChunk) {
    constexpr int kVectors = kChunk * sizeof(T) / sizeof(uint4);
    uint4 raw[kVectors];
    T part[kChunk];
#pragma unroll
    for (int i = 0; i < kChunk; ++i) part[i] = from_float<T>(x[i]);
    memcpy(raw, part, sizeof part);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) reinterpret_cast<uint4*>(p)[i] = raw[i];
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i)
    if (i < left) p[i] = from_float<T>(x[i]);
}

// The same for what is read seldom enough that its type need not be known to the compiler.
__device__ inline void load8(const void* p, Type type, int64_t first, int64_t left, bool aligned, float (&x)[kChunk]) {
  if (type == Type::f32) return load8(static_cast<const float*>(p) + first, left, aligned, x);
  if (type == Type::bf16) return load8(static_cast<const bf16*>(p) + first, left, aligned, x);
  load8(static_cast<const f16*>(p) + first, left, aligned, x);
}
__device__ inline void store8(void* p, Type type, int64_t first, int64_t left, bool aligned, const float (&x)[kChunk]) {
  if (type == Type::f32) return store8(static_cast<float*>(p) + first, left, aligned, x);
  if (type == Type::bf16) return store8(static_cast<bf16*>(p) + first, left, aligned, x);
  store8(static_cast<f16*>(p) + first, left, aligned, x);
}

__host__ __device__ inline int64_t row_start(const Rows& rows, int64_t row) {
  return row / rows.tokens * rows.batch_stride + row % rows.tokens * rows.row_stride;
}

// Sums in an order that does not depend on timing; every lane, or every thread of the block, gets the result.
template <class T>
__device__ inline T warp_sum(T v) {
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) v += __shfl_xor_sync(kAllLanes, v, i);
  return v;
}
__device__ inline float warp_max(float v) {
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, i));
  return v;
}
template <class T>
__device__ inline T block_sum(T v) {
  __shared__ T parts[kWarp];
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  v = warp_sum(v);
  __syncthreads();  // parts of the last sum have been read
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  return warp_sum(lane < warps ? parts[lane] : T(0));
}

__device__ inline float activated(float x, Act act) {
  switch (act) {
    case Act::none:
      return x;
    case Act::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Act::gelu_tanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case Act::quick_gelu:
      return x / (1.0f + expf(-1.702f * x));
    case Act::silu:
      return x / (1.0f + expf(-x));
  }
  return x;
}

template <class T>
__device__ inline T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ uint4 cairn_dynamic_shared[];
  return reinterpret_cast<T*>(cairn_dynamic_shared);
#else
  return static_cast<T*>(cuda_sim::dynamic_shared());
#endif
}

// --- on the host ---

template <class... P>
inline Status launch(void (*kernel)(P...), dim3 grid, dim3 block, int64_t shared, void* stream,
                     std::type_identity_t<P>... arguments) {
#ifdef __CUDACC__
  if (shared > (48 << 10)) {
    const cudaError_t e =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (e != cudaSuccess) return cudaGetErrorString(e);
  }
  kernel<<<grid, block, static_cast<size_t>(shared), static_cast<cudaStream_t>(stream)>>>(arguments...);
  const cudaError_t e = cudaGetLastError();
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
#else
  (void)stream;
  cuda_sim::launch(grid, block, static_cast<size_t>(shared), [&] { kernel(arguments...); });
  return nullptr;
#endif
}

// f(a number of the type), whose class then is T.
template <class F>
inline Status with_type(Type type, F&& f) {
  if (type == Type::f32) return f(float{});
  if (type == Type::bf16) return f(bf16{});
  if (type == Type::f16) return f(f16{});
  return "a dtype that kernels do not know";
}

inline bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
// Whether chunks of eight of every row can be read as vectors; true where there are no rows.
inline bool aligned(const Rows& rows) {
  return aligned(rows.data) && rows.row_stride % kChunk == 0 && rows.batch_stride % kChunk == 0;
}
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
// Threads for a row of `width` when each takes `chunks` chunks of eight: whole warps, at most 1024.
inline unsigned threads_for_width(int64_t width, int64_t chunks, int64_t most = 1024) {
  const int64_t warps = ceil_div(ceil_div(width, kChunk * chunks), kWarp);
  return static_cast<unsigned>((warps < 1 ? 1 : warps * kWarp > most ? most / kWarp : warps) * kWarp);
}

}  // namespace cairn::ops::cuda
