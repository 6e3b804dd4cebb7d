// Tensor cores: products of fragments as the PTX ISA defines them (mma.m16n8k16, ldmatrix; compute capability 8.0).
#pragma once
#include "ops/cuda/device_code.cuh"

namespace cairn::ops::cuda {

// c (16, 8) += a (16, 16) b (16, 8). With lane 4 g + t, two 16-bit numbers a register: a has rows g, g + 8, g, g + 8
// and columns 2 t, 2 t, 2 t + 8, 2 t + 8; b has column g and rows 2 t, 2 t + 8; c has rows g, g, g + 8, g + 8 and
// columns 2 t, 2 t + 1, twice.
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bf16) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  cuda_sim::mma_16816(
      c, a, b, [](uint16_t bits) { return __bfloat162float(bf16{bits}); }, __LINE__);
#endif
}
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], f16) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  cuda_sim::mma_16816(
      c, a, b, [](uint16_t bits) { return __half2float(f16{bits}); }, __LINE__);
#endif
}

// The fragment b of rows k = 0 … 15 in shared memory, each eight numbers: lane l < 16 gives the address of row l.
template <class T>
__device__ inline void load_transposed(uint32_t (&b)[2], const T* row) {
#ifdef __CUDACC__
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n"
               : "=r"(b[0]), "=r"(b[1])
               : "r"(address)
               : "memory");
#else
  cuda_sim::load_matrix_x2(b, row, true, __LINE__);
#endif
}

// Two neighbours in memory, the first aligned to 4 bytes; and two numbers as one register.
template <class T>
__device__ inline uint32_t pair_at(const T* p) {
  return *reinterpret_cast<const uint32_t*>(p);
}
template <class T>
__device__ inline uint32_t pair_of(float low, float high) {
  const T both[2] = {from_float<T>(low), from_float<T>(high)};
  uint32_t out;
  memcpy(&out, both, sizeof out);
  return out;
}

}  // namespace cairn::ops::cuda
