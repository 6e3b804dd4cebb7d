// Mixtures of experts: a token's experts are chosen, rows sorted by expert, multiplied with each expert's weights, and
// summed up again, all on the device: nothing here waits for it.
#include <ATen/ops/zeros.h>

#include "ops/npu/npu.h"
#include "ops/npu/operator.h"

namespace cairn::ops::npu {
namespace {

// From the documentation of npu_moe_gating_top_k. Before CANN 8.5 it knew nothing but the sigmoid with a correction and
// groups worth their best two, DeepSeek V3's way; that it normalises always.
bool takes(const RouteRule& rule, int64_t experts) {
  const int64_t size = experts / rule.groups;
  return rule.sigmoid && rule.normalise && experts <= 2048 && rule.each <= 32 && rule.each <= size * rule.kept &&
         (rule.groups == 1 || (rule.pairs && size > 2 && (size + 31) / 32 * 32 * rule.groups <= 2048));
}

// Matrices of one size that lie one behind the other (nn::experts put them there), as (count, out, in). Undefined where
// they do not.
template <class At>
Tensor stacked(int64_t count, const At& at) {
  const Tensor& first = at(0).weight();
  const int64_t out = first.size(0), in = first.size(1), begin = first.storage_offset();
  for (int64_t i = 0; i < count; ++i) {
    const Tensor& w = at(i).weight();
    if (at(i).bias().defined() || w.sizes() != first.sizes() || !w.is_contiguous() || !w.is_alias_of(first) ||
        w.storage_offset() != begin + i * out * in)
      return {};
  }
  return first.as_strided({count, out, in}, {out * in, in, 1}, begin);
}

}  // namespace

Routed route(const Tensor& logits, const Tensor& correction, const RouteRule& rule) {
  static const Operator softmax("npu::npu_moe_gating_top_k_softmax"), grouped("npu::npu_moe_gating_top_k");
  if (logits.scalar_type() != kF32) return reference::route(logits, correction, rule);
  if (!rule.sigmoid && rule.groups == 1 && !correction.defined() && rule.each <= 1024) {
    const auto y = softmax({{"x", logits}, {"k", rule.each}});
    const Tensor weights = rule.normalise ? y[0].div(y[0].sum(-1, true)) : y[0];
    return {y[1], rule.scaling == 1 ? weights : weights * rule.scaling};
  }
  if (!correction.defined() || !takes(rule, logits.size(1))) return reference::route(logits, correction, rule);
  const auto y = grouped({{"x", logits},
                          {"k", rule.each},
                          {"bias", correction},
                          {"k_group", rule.kept},
                          {"group_count", rule.groups},
                          {"group_select_mode", int64_t{1}},
                          {"norm_type", int64_t{1}},
                          {"routed_scaling_factor", rule.scaling}});
  return {y[1], y[0]};
}

Tensor experts(const Tensor& x, const Tensor& chosen, const Tensor& weights, at::ArrayRef<Expert> list,
               Activation act) {
  static const Operator sort("npu::npu_moe_init_routing_v2"), product("npu::npu_grouped_matmul"),
      gated("npu::npu_swiglu"), sum("npu::npu_moe_finalize_routing");
  const auto count = static_cast<int64_t>(list.size()), tokens = x.size(0), each = chosen.size(1);
  const bool half = x.scalar_type() == kBF16 || x.scalar_type() == kF16;
  if (act != Activation::kSilu || !half || list[0].gate.dtype() != x.scalar_type() || count > 1024)
    return reference::experts(x, chosen, weights, list, act);
  const auto inner_at = [&](int64_t i) -> const Weight& {
    const Expert& e = list[static_cast<size_t>(i / 2)];
    return i % 2 ? e.up : e.gate;
  };
  const auto down_at = [&](int64_t i) -> const Weight& { return list[static_cast<size_t>(i)].down; };
  Tensor inner = stacked(2 * count, inner_at);
  const Tensor down = stacked(count, down_at);
  if (!inner.defined() || !down.defined()) return reference::experts(x, chosen, weights, list, act);
  inner = inner.view({count, -1, x.size(1)});  // gate's rows, then up's

  const Tensor ids = chosen.to(Dtype::Int);
  const auto sorted = sort({{"x", x},
                            {"expert_idx", ids},
                            {"active_num", tokens * each},
                            {"expert_num", count},
                            {"expert_tokens_num_type", int64_t{1}},
                            {"expert_tokens_num_flag", true},
                            {"active_expert_range", std::vector<int64_t>{0, count}}});
  const auto by_expert = [&](const Tensor& rows, const Tensor& stack) {
    return product({{"x", std::vector<Tensor>{rows}},
                    {"weight", std::vector<Tensor>{stack.transpose(1, 2)}},
                    {"group_list", sorted[2]},
                    {"split_item", int64_t{2}},
                    {"group_type", int64_t{0}},
                    {"group_list_type", int64_t{1}}})[0];
  };
  const Tensor rows = by_expert(gated({{"input|self", by_expert(sorted[0], inner)}})[0], down);
  return sum({{"expanded_permuted_rows", rows},
              {"scales", weights.to(x.scalar_type())},
              {"expanded_src_to_dst_row", sorted[1]},
              {"export_for_source_row", ids},
              {"drop_pad_mode", int64_t{2}}})[0];
}

}  // namespace cairn::ops::npu
