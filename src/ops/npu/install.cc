#include <fmt/core.h>

#include <functional>
#include <mutex>

#include "device/device.h"
#include "ops/install.h"
#include "ops/npu/npu.h"
#include "ops/npu/operator.h"
#include "tensor/survive.h"

namespace cairn::ops {
namespace {

constexpr auto kNPU = c10::DeviceType::PrivateUse1;

Tensor halves(at::IntArrayRef shape) { return zeros(shape, kF16, c10::Device(kNPU, 0)); }

// Whether torch_npu has all of them and this NPU does what they are for: some take less on older ones. What is lacking
// is said once, since a slow NPU should not be a riddle.
bool there_are(std::initializer_list<npu::Operator> operators, const std::function<void()>& trial) {
  for (const auto& op : operators)
    if (!op.exists()) {
      fmt::print(stderr, "note: this torch_npu has no {}; plain operations take its place\n", op.name());
      return false;
    }
  const auto works = survived(trial, "");
  if (!works)
    fmt::print(stderr, "note: {} does not do what is wanted here ({}); plain operations take its place\n",
               operators.begin()->name(), works.error().what);
  return works.has_value();
}

}  // namespace

void install_npu() {
  using npu::Operator;
  static std::once_flag once;
  std::call_once(once, [] {
    const Inference no_gradients;
    const bool norms = there_are({Operator("npu::npu_rms_norm")}, [] {
      (void)npu::rms_norm(halves({2, 16}), halves({16}), 1e-6, kF16);
    });
    if (norms) rms_norm.on(kNPU, npu::rms_norm);
    const Operator gelu("npu::npu_gelu"), swiglu("npu::npu_swiglu");
    const bool gelus = there_are({gelu}, [&] {
      (void)npu::linear({halves({1, 2, 16})}, {halves({16, 16}), {}}, Activation::kGelu, kF16);
    });
    if (gelus) linear.on(kNPU, npu::linear);
    if (there_are({swiglu}, [&] { (void)swiglu({{"input|self", halves({2, 64})}}); }) && gelus)
      linear_glu.on(kNPU, npu::linear_glu);
    const Operator rotary("npu::npu_rotary_mul");
    const bool rotates = there_are({rotary}, [&] {
      const Tensor table = halves({1, 2, 1, 16});
      (void)rotary({{"input|self", table}, {"r1", table}, {"r2", table}, {"rotary_mode", "interleave"}});
    });
    if (rotates && norms) {
      rope_table.on(kNPU, npu::rope_table);
      qkv.on(kNPU, npu::qkv);
    }
    // Made for inference, the first one can be captured; the other, made for training too, forks a stream in a capture.
    const Operator infer("npu::npu_fused_infer_attention_score"), fusion("npu::npu_fusion_attention");
    const auto attend = infer.exists() ? npu::infer_attention : npu::fusion_attention;
    if (there_are({infer.exists() ? infer : fusion}, [&] {
          const Tensor x = halves({1, 16, 1, 16});
          (void)attend(x, x, x, {}, false, 1);
        }))
      attention.on(kNPU, attend);
    const Tensor cache = halves({1, 128, 1, 16}), rows = halves({1, 1, 16});
    const Tensor number = zeros({1}, Dtype::Int, c10::Device(kNPU, 0));
    if (there_are({Operator("npu::npu_scatter_pa_kv_cache")},
                  [&] { npu::write_kv(rows, rows, cache, cache.clone(), number); }))
      write_kv.on(kNPU, npu::write_kv);
    if (there_are(
            {Operator("npu::npu_fused_infer_attention_score"), Operator("npu::npu_fused_infer_attention_score", "out"),
             Operator("npu::_npu_fused_infer_attention_score_get_max_workspace")},
            [&] {
              const int32_t block = 0;
              const PagedSequence one{.row = 0, .rows = 1, .keys = 1, .blocks = &block};
              (void)npu::paged_attention(rows, cache, cache, {one, number.view({1, 1}), number, number}, {});
            }))
      paged_attention.on(kNPU, npu::paged_attention), split_latent_attention.on(kNPU, npu::split_latent_attention);
    const Operator softmax("npu::npu_moe_gating_top_k_softmax");
    if (there_are({softmax, Operator("npu::npu_moe_gating_top_k")}, [&] {
          (void)npu::route(zeros({2, 8}, kF32, c10::Device(kNPU, 0)), {}, {.each = 2});
        }))
      route.on(kNPU, npu::route);
    const Operator sum("npu::npu_moe_finalize_routing");
    if (there_are({sum, Operator("npu::npu_moe_init_routing_v2"), Operator("npu::npu_grouped_matmul"), swiglu}, [&] {
          (void)sum({{"expanded_permuted_rows", halves({1, 16})},
                     {"scales", halves({1, 1})},
                     {"expanded_src_to_dst_row", number},
                     {"export_for_source_row", number.view({1, 1})},
                     {"drop_pad_mode", int64_t{2}}});
        }))
      experts.on(kNPU, npu::experts);
    device::synchronize(c10::Device(kNPU, 0));
  });
}

}  // namespace cairn::ops
