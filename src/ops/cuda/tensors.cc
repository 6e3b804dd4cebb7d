#include "ops/cuda/tensors.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace cairn::ops::cuda {

std::optional<Type> type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::Float:
      return Type::f32;
    case Dtype::BFloat16:
      return Type::bf16;
    case Dtype::Half:
      return Type::f16;
    default:
      return {};
  }
}

Act act_of(Activation act) {
  switch (act) {
    case Activation::kNone:
      return Act::none;
    case Activation::kGelu:
      return Act::gelu;
    case Activation::kGeluTanh:
      return Act::gelu_tanh;
    case Activation::kQuickGelu:
      return Act::quick_gelu;
    case Activation::kSilu:
      return Act::silu;
  }
  return Act::none;
}

std::optional<Rows> rows_of(const Tensor& t) {
  const auto type = type_of(t.scalar_type());
  if (!type || t.dim() < 1) return {};
  // A batch is two strides even where one would do: modulation asks which picture a row belongs to.
  const int64_t tokens = t.dim() > 1 ? t.size(-2) : 1;
  if (t.is_contiguous()) {
    const int64_t width = t.size(-1);
    return Rows{t.const_data_ptr(), *type, tokens > 0 ? tokens : 1, tokens * width, width};
  }
  if (t.dim() > 3 || t.stride(-1) != 1 || tokens == 0) return {};
  return Rows{t.const_data_ptr(), *type, tokens, t.dim() > 2 ? t.stride(0) : 0, t.dim() > 1 ? t.stride(-2) : 0};
}

std::optional<Vector> vector_of(const Tensor& t) {
  if (!t.defined()) return Vector{};
  const auto type = type_of(t.scalar_type());
  if (!type || !t.is_contiguous()) return {};
  return Vector{t.const_data_ptr(), *type};
}

Tensor made(const Tensor& t, at::IntArrayRef shape, Dtype dtype) { return empty(shape, dtype, t.device()); }

Tensor workspace(const Tensor& t, int64_t numbers, Dtype dtype) { return empty({numbers}, dtype, t.device()); }

void* stream_of(const Tensor& t) {
  if (t.is_cpu()) return nullptr;  // where the kernels are simulated
  return c10::impl::VirtualGuardImpl(t.device().type()).getStream(t.device()).native_handle();
}

}  // namespace cairn::ops::cuda
