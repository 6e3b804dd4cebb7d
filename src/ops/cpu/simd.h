// Vectors of 32-bit lanes as wide as the instruction set that this file is compiled for, written with the compiler's
// own vector types. Kernel sources are compiled once per instruction set (CAIRN_ISA names its namespace), so they
// include no header of torch or of the standard library whose inline functions the linker could share between sets.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#include <arm_neon.h>
#endif

#include "ops/cpu/kernels.h"

namespace cairn::ops::cpu::CAIRN_ISA {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kRegisters = 32;
#else
inline constexpr int kRegisters = 16;
#endif
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
inline constexpr bool kHasBf16 = true;
#else
inline constexpr bool kHasBf16 = false;
#endif
#if defined(__AMX_BF16__)
inline constexpr bool kHasMatrix = true;
#else
inline constexpr bool kHasMatrix = false;
#endif

using f32v = float __attribute__((vector_size(4 * kLanes)));
using u32v = uint32_t __attribute__((vector_size(4 * kLanes)));
using i32v = int32_t __attribute__((vector_size(4 * kLanes)));
using u16v = uint16_t __attribute__((vector_size(2 * kLanes)));
struct bf16 {
  uint16_t bits;
};

inline int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

template <class V>
inline V load_as(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline f32v load(const float* p) { return load_as<f32v>(p); }
inline f32v load(const bf16* p) { return (f32v)(__builtin_convertvector(load_as<u16v>(p), u32v) << 16); }
inline f32v splat(float x) { return x - f32v{}; }
inline u32v splat_lane(const void* p) { return load_as<uint32_t>(p) - u32v{}; }
inline float widen(float x) { return x; }
inline float widen(bf16 x) {
  const uint32_t u = uint32_t{x.bits} << 16;
  return load_as<float>(&u);
}

// Nearest even, in the low half of each lane. A NaN keeps its upper bits and becomes quiet: rounding up must not turn
// one into an infinity.
inline u32v round_to_bf16(f32v v) {
  const u32v u = (u32v)v;
  return (u32v)(v != v ? (u >> 16) | 64 : (u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
inline void store(float* p, f32v v) { std::memcpy(p, &v, sizeof v); }
inline void store(bf16* p, f32v v) {
#if defined(__AVX512BF16__)
  const auto h = _mm512_cvtneps_pbh((__m512)v);
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  const auto h = vcvt_bf16_f32((float32x4_t)v);
#else
  const auto h = __builtin_convertvector(round_to_bf16(v), u16v);
#endif
  std::memcpy(p, &h, sizeof h);
}

// The first `n` lanes only (0 <= n); lanes past them load as zero.
template <class T>
inline f32v load(const T* p, int64_t n) {
  if (n >= kLanes) return load(p);
  alignas(64) T part[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) part[i] = p[i];
  return load(part);
}
template <class T>
inline void store(T* p, f32v v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  alignas(64) T part[kLanes];
  store(part, v);
  for (int64_t i = 0; i < n; ++i) p[i] = part[i];
}

template <int... I>
inline f32v swap_pairs(f32v v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (I ^ 1)...);
}
inline f32v swap_pairs(f32v v) { return swap_pairs(v, std::make_integer_sequence<int, kLanes>()); }
template <int N, int... I>
inline f32v rotated(f32v v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, ((I + N) % kLanes)...);
}
template <int N>
inline f32v rotated(f32v v) {
  return rotated<N>(v, std::make_integer_sequence<int, kLanes>());
}
// b where either is a NaN, as the instructions have it. (The forms without masks make GCC 12 warn of its own header.)
inline f32v larger(f32v a, f32v b) {
#if defined(__AVX512F__)
  return (f32v)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#else
  return a > b ? a : b;
#endif
}
inline f32v lesser(f32v a, f32v b) { return a < b ? a : b; }

// Reductions over the lanes, in pairs, so that their order never depends on data.
template <int N = kLanes / 2>
inline float sum(f32v v) {
  v += rotated<N>(v);
  if constexpr (N == 1)
    return v[0];
  else
    return sum<N / 2>(v);
}
template <int N = kLanes / 2>
inline float largest(f32v v) {
  v = larger(v, rotated<N>(v));
  if constexpr (N == 1)
    return v[0];
  else
    return largest<N / 2>(v);
}
inline i32v iota() {
  i32v v;
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

// 2^x to about 2e-7: the series of 2^r on [-1/2, 1/2], times 2^n by writing the exponent. Zero and infinity beyond the
// range of fp32; a NaN stays one.
inline f32v exp2(f32v x) {
#if defined(__AVX512DQ__)
  const f32v r = (f32v)_mm512_reduce_ps((__m512)x, 0);  // less the nearest integer; 0 for infinities
#else
  x = larger(splat(-127.f), lesser(splat(128.f), x));
  const f32v shifted = x + 12583039.f;  // 1.5 * 2^23 + 127: the biased exponent in the low bits
  const f32v r = x - (shifted - 12583039.f);
#endif
  f32v p = splat(1.5403530e-4f);
  p = p * r + 1.3333558e-3f;
  p = p * r + 9.6181291e-3f;
  p = p * r + 5.5504109e-2f;
  p = p * r + 2.4022651e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.f;
#if defined(__AVX512DQ__)
  const auto normal = _mm512_cmp_ps_mask((__m512)x, (__m512)splat(-126.f), _CMP_NLT_UQ);  // others are slow: zero
  return (f32v)_mm512_maskz_scalef_ps(normal, (__m512)p, (__m512)(x - r));
#else
  return p * (f32v)((u32v)shifted << 23);
#endif
}
inline constexpr float kLog2E = 1.44269504f;
inline f32v exp(f32v x) { return exp2(x * kLog2E); }

inline f32v silu(f32v x) { return x / (1.f + exp2(x * -kLog2E)); }
inline f32v quick_gelu(f32v x) { return x / (1.f + exp2(x * (-1.702f * kLog2E))); }
// x/2 (1 + tanh u) is x * sigmoid(2u): one exponential and one division.
inline f32v gelu_tanh(f32v x) { return x / (1.f + exp2(x * (-1.5957691f * kLog2E - (0.07135481f * kLog2E) * x * x))); }
// The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26), of x / sqrt 2.
inline f32v gelu(f32v x) {
  const f32v z = x * 0.70710678f, a = z < 0.f ? -z : z;
  const f32v t = 1.f / (1.f + 0.3275911f * a);
  f32v p = splat(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const f32v tail = p * t * exp(-z * z);  // 1 - erf |z|
  return 0.5f * x * (z < 0.f ? tail : 2.f - tail);
}

template <Act A>
inline f32v activate(f32v x) {
  if constexpr (A == Act::kGelu)
    return gelu(x);
  else if constexpr (A == Act::kGeluTanh)
    return gelu_tanh(x);
  else if constexpr (A == Act::kQuickGelu)
    return quick_gelu(x);
  else if constexpr (A == Act::kSilu)
    return silu(x);
  else
    return x;
}

// Calls f with a value of the element type, or of the activation as a constant.
template <class F>
inline void with_type(Type type, F&& f) {
  if (type == Type::kF32)
    f(float{});
  else
    f(bf16{});
}
template <Act A>
struct Constant {
  static constexpr Act value = A;
};
template <class F>
inline void with_activation(Act act, F&& f) {
  switch (act) {
    case Act::kNone:
      return f(Constant<Act::kNone>());
    case Act::kGelu:
      return f(Constant<Act::kGelu>());
    case Act::kGeluTanh:
      return f(Constant<Act::kGeluTanh>());
    case Act::kQuickGelu:
      return f(Constant<Act::kQuickGelu>());
    case Act::kSilu:
      return f(Constant<Act::kSilu>());
  }
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
