#include "ops/attention.h"

#include <ATen/ops/_scaled_dot_product_attention_math.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <fmt/core.h>

#include "base/strings.h"
#include "device/device.h"
#include "ops/cpu/cpu.h"
#include "ops/install.h"
#include "ops/npu/npu.h"
#include "tensor/survive.h"

namespace cairn::ops {
namespace {

struct Backend {
  std::string_view name;
  decltype(attention)::Kernel kernel;
  bool (*takes)(const Tensor& q, const Tensor& k);  // without a mask; the reference has the rest
};

bool anything(const Tensor&, const Tensor&) { return true; }
bool is_half(const Tensor& t) { return t.scalar_type() == kBF16 || t.scalar_type() == kF16; }

// Libtorch's kernels want heads before tokens.
Tensor turned(const Tensor& t) { return t.transpose(1, 2); }
Tensor joined(const Tensor& y) { return turned(y).flatten(2); }

Tensor math(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale) {
  std::optional<Tensor> mask;
  if (bias.defined()) mask = bias.to(q.scalar_type());
  return joined(std::get<0>(
      at::_scaled_dot_product_attention_math(turned(q), turned(k), turned(v), mask, 0, causal, std::nullopt, scale)));
}

template <auto Fused, auto Takes>
Tensor fused(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale) {
  if (bias.defined() || causal || !Takes(q, k)) return reference::attention(q, k, v, bias, causal, scale);
  return joined(Fused(turned(q), turned(k), turned(v), scale));
}

Tensor processor_flash(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0, false, std::nullopt, scale));
}

// What sdp_utils.cpp of libtorch asks of inputs, where ours may differ in it.
namespace cuda {

bool flash_takes(const Tensor& q, const Tensor&) { return is_half(q) && q.size(3) % 8 == 0 && q.size(3) <= 256; }
bool efficient_takes(const Tensor& q, const Tensor&) {
  return (is_half(q) || q.scalar_type() == kF32) && q.size(3) % 8 == 0;
}
bool cudnn_takes(const Tensor& q, const Tensor& k) {
  return is_half(q) && q.size(3) % 8 == 0 && q.size(3) <= 128 && k.size(1) > 1;
}

Tensor flash(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, 0, false, false, scale));
}
Tensor efficient(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  return std::get<0>(at::_scaled_dot_product_efficient_attention(q, k, v, std::nullopt, false, 0, false, scale));
}
Tensor cudnn(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  return std::get<0>(at::_scaled_dot_product_cudnn_attention(q, k, v, std::nullopt, false, 0, false, false, scale));
}

}  // namespace cuda

// The first one is what install_kernels chooses.
std::vector<Backend> known(c10::Device device) {
  if (device.is_cpu())
    return {{"native", cpu::attention, anything},
            {"_native_flash", fused<processor_flash, anything>, anything},
            {"_native_math", math, anything}};
  std::vector<Backend> all{{"native", reference::attention, anything}, {"_native_math", math, anything}};
  if (device.is_cuda()) {
    const auto flash = fused<cuda::flash, cuda::flash_takes>, cudnn = fused<cuda::cudnn, cuda::cudnn_takes>;
    all.push_back({"_native_flash", flash, cuda::flash_takes});
    all.push_back({"flash", flash, cuda::flash_takes});
    all.push_back({"_native_cudnn", cudnn, cuda::cudnn_takes});
    all.push_back({"_sdpa_cudnn", cudnn, cuda::cudnn_takes});
    all.push_back({"_native_efficient", fused<cuda::efficient, cuda::efficient_takes>, cuda::efficient_takes});
  }
  if (device.is_privateuseone())
    all.insert(all.begin(), {{"_npu_fia", npu::infer_attention, npu::attention_takes},
                             {"_native_npu", npu::fusion_attention, npu::attention_takes}});
  return all;
}

Result<void> works(const Backend& b, c10::Device device, Dtype dtype) {
  const Inference no_gradients;
  return survived(
      [&] {
        const Tensor x = zeros({1, 64, 1, 64}, dtype, device);
        if (!b.takes(x, x)) throw Failure({Code::kUnsupported, fmt::format("it does not take {}", dtype_name(dtype))});
        (void)b.kernel(x, x, x, {}, false, 1);
        device::synchronize(device);
      },
      "");
}

}  // namespace

std::vector<std::string> attention_backends(c10::Device device, Dtype dtype) {
  install_kernels(device);
  std::vector<std::string> names;
  for (const Backend& b : known(device))
    if (works(b, device, dtype)) names.emplace_back(b.name);
  return names;
}

Result<void> select_attention(c10::Device device, const std::string& name, Dtype dtype) {
  install_kernels(device);
  std::string why;
  for (const Backend& b : known(device)) {
    if (b.name != name) continue;
    const auto ok = works(b, device, dtype);
    if (ok) return attention.on(device.type(), b.kernel), Result<void>{};
    why = fmt::format(" ({})", ok.error().what);
  }
  return failure(Code::kUnsupported,
                 fmt::format("attention backend {} is not available on {} in {}{}: use one of {}", name, device.str(),
                             dtype_name(dtype), why, join(attention_backends(device, dtype), ", ")));
}

}  // namespace cairn::ops
