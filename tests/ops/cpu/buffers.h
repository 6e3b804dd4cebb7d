// Plain memory for tests of kernels: numbers in fp32 or bf16, read back in double, and the forms that kernels take.
#pragma once
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string_view>
#include <tuple>
#include <vector>

#include "ops/cpu/isa.h"

namespace cairn::ops::cpu {

inline uint16_t to_bf16(double value) {
  const auto u = std::bit_cast<uint32_t>(static_cast<float>(value));
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
inline double from_bf16(uint16_t bits) {
  return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
}

class Buffer {
 public:
  Buffer(Type type, int64_t count) : type_(type), bytes_(static_cast<size_t>(count) * size()) {}
  // Normal numbers times `scale`, rounded to bf16 in either type: what is narrowed on the way loses nothing.
  static Buffer random(Type type, int64_t count, uint32_t seed, double scale = 1) {
    std::mt19937 bits(seed);
    std::normal_distribution<double> normal(0, scale);
    Buffer b(type, count);
    for (int64_t i = 0; i < count; ++i) b.set(i, from_bf16(to_bf16(normal(bits))));
    return b;
  }

  Type type() const { return type_; }
  int64_t count() const { return static_cast<int64_t>(bytes_.size() / size()); }
  size_t size() const { return type_ == Type::kF32 ? 4 : 2; }
  void* data(int64_t from = 0) { return bytes_.data() + static_cast<size_t>(from) * size(); }
  const void* data(int64_t from = 0) const { return bytes_.data() + static_cast<size_t>(from) * size(); }
  float* floats() { return reinterpret_cast<float*>(bytes_.data()); }
  const float* floats() const { return reinterpret_cast<const float*>(bytes_.data()); }
  double operator[](int64_t i) const {
    if (type_ == Type::kF32) return static_cast<double>(floats()[i]);
    uint16_t bits = 0;
    std::memcpy(&bits, data(i), 2);
    return from_bf16(bits);
  }
  void set(int64_t i, double value) {
    if (type_ == Type::kF32) {
      floats()[i] = static_cast<float>(value);
    } else {
      const uint16_t bits = to_bf16(value);
      std::memcpy(data(i), &bits, 2);
    }
  }
  bool operator==(const Buffer&) const = default;

 private:
  Type type_;
  std::vector<char> bytes_;
};

// A (batches, tokens, width) matrix without gaps.
inline Rows rows(Buffer& b, int64_t tokens, int64_t width) {
  return {b.data(), b.type(), width, tokens * width, width};
}

// A weight (out, in) as the products read it, with its bias.
struct PackedWeight {
  PackedWeight(const Buffer& w, int64_t out, int64_t in, uint32_t seed)
      : values(w.type() == Type::kF32 ? 1 : 2),
        bias(Buffer::random(Type::kF32, (out + kPanel - 1) / kPanel * kPanel, seed)) {
    packed = {w.type(), out, in, (in + values - 1) / values, nullptr, bias.floats()};
    Buffer to(w.type(), packed.panels() * packed.lanes * kPanel * values);
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < in; ++i)
        to.set((o / kPanel * packed.lanes * kPanel + i / values * kPanel + o % kPanel) * values + i % values,
               w[o * in + i]);
    for (int64_t o = out; o < bias.count(); ++o) bias.set(o, 0);
    memory.resize(static_cast<size_t>(to.count()) * to.size() / 4);
    std::memcpy(memory.data(), to.data(), memory.size() * 4);
    packed.data = memory.data();
  }
  PackedWeight(const PackedWeight&) = delete;

  int64_t values;
  Buffer bias;
  std::vector<uint32_t> memory;
  Packed packed;
};

// |a - b| / |b| of all elements; infinite where a is not finite.
template <class Expected>
double distance(const Buffer& a, Expected expected) {
  double error = 0, norm = 1e-30;
  for (int64_t i = 0; i < a.count(); ++i) {
    const double e = expected(i);
    error += (a[i] - e) * (a[i] - e);
    norm += e * e;
  }
  return std::isfinite(error) ? std::sqrt(error / norm) : INFINITY;
}
// What rounding costs: of sums in fp32, and of a result or of an input on the way in bf16.
inline double tolerance(Type type) { return type == Type::kF32 ? 3e-6 : 6e-3; }

inline double activated(Act act, double x) {
  switch (act) {
    case Act::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Act::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case Act::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Act::kSilu:
      return x / (1 + std::exp(-x));
    default:
      return x;
  }
}

// All instruction sets that this machine runs, in both types. `share` does the work of all workers in turn.
class KernelTest : public testing::TestWithParam<std::tuple<std::string_view, Type>> {
 protected:
  void SetUp() override { ASSERT_TRUE(use_isa(std::get<0>(GetParam()))); }
  void TearDown() override { ASSERT_TRUE(use_isa(usable_isas()[0])); }
  static Type type() { return std::get<1>(GetParam()); }
  // What products read: bf16 is widened where it has no products of its own.
  static Type input_type() { return kernels().bf16 ? type() : Type::kF32; }
  template <class Kernel, class... Job>
  static void share(int workers, Kernel kernel, const Job&... job) {
    for (int id = 0; id < workers; ++id) kernel(job..., Worker{id, workers});
  }
  Buffer make(Type t, int64_t count, double scale = 1) { return Buffer::random(t, count, ++seed_, scale); }
  uint32_t seed_ = 1;
};

inline std::string kernel_name(const testing::TestParamInfo<std::tuple<std::string_view, Type>>& info) {
  return std::string(std::get<0>(info.param)) + (std::get<1>(info.param) == Type::kF32 ? "Fp32" : "Bf16");
}
#define CAIRN_EVERY_KERNEL(suite)                                                                               \
  INSTANTIATE_TEST_SUITE_P(                                                                                     \
      Cpu, suite, testing::Combine(testing::ValuesIn(usable_isas()), testing::Values(Type::kF32, Type::kBF16)), \
      kernel_name)

}  // namespace cairn::ops::cpu
