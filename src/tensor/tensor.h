// The tensor type, and operators written with its methods. All other headers above tensor/ include this and nothing
// else of torch.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <string>

#include "base/result.h"

namespace cairn {

using Tensor = at::Tensor;
using Dtype = c10::ScalarType;
inline constexpr Dtype kF32 = c10::ScalarType::Float;
inline constexpr Dtype kBF16 = c10::ScalarType::BFloat16;
inline constexpr Dtype kF16 = c10::ScalarType::Half;

inline Tensor operator+(const Tensor& a, const Tensor& b) { return a.add(b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return a.sub(b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return a.mul(b); }
inline Tensor operator*(const Tensor& a, double b) { return a.mul(b); }
inline Tensor operator+(const Tensor& a, double b) { return a.add(b); }

// "fp32", "bf16", "fp16": the names that flags and reports use. Errors list the known names.
Result<Dtype> parse_dtype(const std::string& name);
std::string dtype_name(Dtype dtype);

// An uninitialised tensor (contiguous). In host memory cheaper than going through the dispatcher.
Tensor empty(at::IntArrayRef shape, Dtype dtype, c10::Device device = c10::DeviceType::CPU);
Tensor zeros(at::IntArrayRef shape, Dtype dtype, c10::Device device = c10::DeviceType::CPU);
// Zeros whose pages the system provides when they are first touched, where the tensor is large.
Tensor lazy_zeros(at::IntArrayRef shape, Dtype dtype, c10::Device device = c10::DeviceType::CPU);

// The same numbers where the program can read them; waits for a device that computes them.
Tensor on_host(const Tensor& t);

// While one lives, this thread's tensors keep no record for gradients: every operation starts faster.
using Inference = c10::InferenceMode;

// What the tensor library says went wrong, in one line; nothing for exceptions that are not its own.
struct TensorError {
  std::string what;
  bool out_of_memory = false;
};
std::optional<TensorError> tensor_error(const std::exception& e);

// The standard normal numbers that torch.randn gives with a CPU generator of that seed, in that dtype.
// One Noise is one generator: later draws go on where earlier ones ended.
class Noise {
 public:
  explicit Noise(uint64_t seed);
  Tensor normal(at::IntArrayRef shape, Dtype dtype);

 private:
  at::Generator generator_;
};

}  // namespace cairn
