// Random tensors for tests of operations, and the distance of a result from float64.
#pragma once
#include "ops/ops.h"

namespace cairn::ops {

inline constexpr Dtype kF64 = c10::ScalarType::Double;

// Normal numbers; the same for the same seed, whatever the dtype.
inline Tensor random(at::IntArrayRef shape, Dtype dtype, uint64_t seed) {
  return Noise(seed).normal(shape, kF32).to(dtype);
}

inline Weight random_weight(int64_t out, int64_t in, Dtype dtype, uint64_t seed, bool bias = true) {
  const Tensor w = (random({out, in}, kF32, seed) * (1 / std::sqrt(static_cast<double>(in)))).to(dtype);
  return {w, bias ? random({out}, dtype, seed + 1) : Tensor()};
}
inline Weight doubled(const Weight& w) {
  return {w.weight().to(kF64), w.bias().defined() ? w.bias().to(kF64) : Tensor()};
}
inline Tensor doubled(const Tensor& t) { return t.defined() ? t.to(kF64) : t; }

// |a - b| / |b|; infinite where one holds a NaN and the other does not.
double distance(const Tensor& a, const Tensor& b);

// What rounding of results and of inputs along the way may cost in this dtype.
inline double tolerance(Dtype dtype) { return dtype == kF32 ? 2e-6 : 6e-3; }

}  // namespace cairn::ops
