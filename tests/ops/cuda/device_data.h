// Numbers as kernels see them, and as float64 for references.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "ops/cuda/cuda_sim.h"
#include "ops/cuda/kernel.h"

namespace cairn::ops::cuda {

inline constexpr Type kTypes[] = {Type::f32, Type::bf16, Type::f16};
inline double tolerance(Type t) { return t == Type::f32 ? 2e-6 : t == Type::bf16 ? 4e-3 : 6e-4; }

// Numbers of one type in memory that is theirs to the byte, so that the address sanitizer sees what reads beyond.
// `shift` numbers lie before the first, to spoil its alignment.
class Data {
 public:
  Data(Type type, int64_t count, int64_t shift = 0)
      : type_(type),
        count_(count),
        shift_(shift),
        bytes_(new std::byte[static_cast<size_t>((count + shift) * size_of(type))]) {
    for (int64_t i = -shift; i < count; ++i) set(i, NAN);
  }
  static Data normal(Type type, int64_t count, unsigned seed, double scale = 1, int64_t shift = 0) {
    Data d(type, count, shift);
    std::mt19937 engine(seed);
    std::normal_distribution<double> of(0, scale);
    for (int64_t i = 0; i < count; ++i) d.set(i, of(engine));
    return d;
  }

  Type type() const { return type_; }
  int64_t size() const { return count_; }
  void* at(int64_t i = 0) const { return bytes_.get() + (i + shift_) * size_of(type_); }
  float* floats() const { return static_cast<float*>(at()); }
  double operator[](int64_t i) const {
    if (type_ == Type::f32) return static_cast<float*>(at(i))[0];
    if (type_ == Type::bf16) return __bfloat162float(static_cast<__nv_bfloat16*>(at(i))[0]);
    return __half2float(static_cast<__half*>(at(i))[0]);
  }
  void set(int64_t i, double value) {
    const auto x = static_cast<float>(value);
    if (type_ == Type::f32) static_cast<float*>(at(i))[0] = x;
    if (type_ == Type::bf16) static_cast<__nv_bfloat16*>(at(i))[0] = __float2bfloat16_rn(x);
    if (type_ == Type::f16) static_cast<__half*>(at(i))[0] = __float2half_rn(x);
  }

 private:
  Type type_;
  int64_t count_, shift_;
  std::unique_ptr<std::byte[]> bytes_;
};

// |a - b| / |b|; infinite where one is no number and the other is.
inline double distance(const Data& a, const std::vector<double>& b) {
  if (a.size() != static_cast<int64_t>(b.size())) return INFINITY;
  double difference = 0, size = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double y = b[static_cast<size_t>(i)];
    if (std::isnan(a[i]) && std::isnan(y)) continue;
    difference += (a[i] - y) * (a[i] - y);
    size += y * y;
  }
  const double d = std::sqrt(difference) / (std::sqrt(size) + 1e-30);
  return std::isnan(d) ? INFINITY : d;
}

inline double activated(double x, Act act) {
  switch (act) {
    case Act::none:
      return x;
    case Act::gelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Act::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Act::silu:
      return x / (1 + std::exp(-x));
  }
  return x;
}

#define EXPECT_LAUNCHED(status)                       \
  do {                                                \
    const ::cairn::ops::cuda::Status said = (status); \
    EXPECT_EQ(said, nullptr) << (said ? said : "");   \
  } while (0)

}  // namespace cairn::ops::cuda
