#include <fmt/core.h>

#include <mutex>

#include "ops/install.h"
#include "ops/npu/npu.h"
#include "ops/npu/operator.h"

namespace cairn::ops {
namespace {

constexpr auto kNPU = c10::DeviceType::PrivateUse1;

// Whether torch_npu has all of them. What it lacks is said once, since a slow NPU should not be a riddle.
bool there_are(std::initializer_list<npu::Operator> operators) {
  bool all = true;
  for (const auto& op : operators)
    if (!op.exists()) {
      fmt::print(stderr, "note: this torch_npu has no {}; plain operations take its place\n", op.name());
      all = false;
    }
  return all;
}

}  // namespace

void install_npu() {
  using npu::Operator;
  static std::once_flag once;
  std::call_once(once, [] {
    const bool norms = there_are({Operator("npu::npu_rms_norm")});
    if (norms) rms_norm.on(kNPU, npu::rms_norm);
    if (there_are({Operator("npu::npu_swiglu")})) linear_glu.on(kNPU, npu::linear_glu);
    if (there_are({Operator("npu::npu_rotary_mul")}) && norms) {
      rope_table.on(kNPU, npu::rope_table);
      qkv.on(kNPU, npu::qkv);
    }
    if (there_are({Operator("npu::npu_fusion_attention")})) attention.on(kNPU, npu::attention);
    if (there_are({Operator("npu::npu_scatter_pa_kv_cache")})) write_kv.on(kNPU, npu::write_kv);
    if (there_are({Operator("npu::npu_fused_infer_attention_score"),
                   Operator("npu::npu_fused_infer_attention_score", "out"),
                   Operator("npu::_npu_fused_infer_attention_score_get_max_workspace")}))
      paged_attention.on(kNPU, npu::paged_attention), split_latent_attention.on(kNPU, npu::split_latent_attention);
    if (there_are({Operator("npu::npu_moe_gating_top_k_softmax"), Operator("npu::npu_moe_gating_top_k")}))
      route.on(kNPU, npu::route);
    if (there_are({Operator("npu::npu_moe_init_routing_v2"), Operator("npu::npu_grouped_matmul"),
                   Operator("npu::npu_swiglu"), Operator("npu::npu_moe_finalize_routing")}))
      experts.on(kNPU, npu::experts);
  });
}

}  // namespace cairn::ops
