#include "tensor/tensor.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randn.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "tensor/arena.h"

namespace cairn {

Result<Dtype> parse_dtype(const std::string& name) {
  if (name == "fp32" || name == "float32" || name == "float") return kF32;
  if (name == "bf16" || name == "bfloat16") return kBF16;
  if (name == "fp16" || name == "float16" || name == "half") return kF16;
  return invalid("unknown dtype \"" + name + "\": use fp32, bf16 or fp16");
}

std::string dtype_name(Dtype dtype) {
  switch (dtype) {
    case kF32:
      return "fp32";
    case kBF16:
      return "bf16";
    case kF16:
      return "fp16";
    default:
      return c10::toString(dtype);
  }
}

Tensor empty(at::IntArrayRef shape, Dtype dtype, c10::Device device) {
  if (!device.is_cpu()) return at::empty(shape, at::TensorOptions().dtype(dtype).device(device));
  if (Arena* arena = Arena::current()) [[unlikely]]
    return arena->empty(shape, dtype);
  return at::detail::empty_cpu(shape, dtype);
}
Tensor zeros(at::IntArrayRef shape, Dtype dtype, c10::Device device) { return empty(shape, dtype, device).zero_(); }

Tensor on_host(const Tensor& t) { return t.is_cpu() ? t : t.to(c10::DeviceType::CPU); }

Tensor lazy_zeros(at::IntArrayRef shape, Dtype dtype, c10::Device device) {
  if (!device.is_cpu()) return zeros(shape, dtype, device);
  size_t bytes = c10::elementSize(dtype);
  for (const int64_t n : shape) {
    check(n >= 0, "a tensor has no negative sizes");
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(n), &bytes)) throw std::bad_alloc();
  }
  constexpr size_t kAlignment = 64;
  void* memory = std::calloc(bytes + kAlignment, 1);
  if (!memory) throw std::bad_alloc();
  void* data = memory;
  size_t space = bytes + kAlignment;
  std::align(kAlignment, bytes, data, space);
  return at::from_blob(
      data, shape, [memory](void*) { std::free(memory); }, at::TensorOptions().dtype(dtype));
}

std::optional<TensorError> tensor_error(const std::exception& e) {
  const auto* error = dynamic_cast<const c10::Error*>(&e);
  if (!error) return std::nullopt;
  const std::string what = error->what_without_backtrace();
  const bool none_left =
      dynamic_cast<const c10::OutOfMemoryError*>(&e) || what.find("allocate memory") != std::string::npos;
  return TensorError{what.substr(0, what.find('\n')), none_left};
}

Noise::Noise(uint64_t seed) : generator_(at::detail::createCPUGenerator(seed)) {}

Tensor Noise::normal(at::IntArrayRef shape, Dtype dtype) {
  return at::randn(shape, generator_, at::TensorOptions().dtype(dtype));
}

}  // namespace cairn
