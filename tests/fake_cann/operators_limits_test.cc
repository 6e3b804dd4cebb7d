// What the real operators document as unsupported is refused, before a kernel starts where the host can see it.
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <acl/acl.h>

#include "operators_test.h"

namespace fake {
namespace {
using Lengths = std::vector<int64_t>;
using Tensors = std::vector<Tensor>;

Tensor half(at::IntArrayRef sizes) { return random(sizes, at::kHalf).to(kNpu); }
Tensor whole(std::initializer_list<int64_t> values, at::ScalarType type = at::kInt) {
  return at::tensor(at::IntArrayRef(values.begin(), values.size()), at::kLong).to(type).to(kNpu);
}

// A call that is right, of which a test changes single arguments; an empty value drops the argument.
struct Call {
  const char* name;
  Named right;

  void with(const Named& changes) const {
    Named all;
    for (const auto& [key, value] : right) {
      bool changed = false;
      for (const auto& change : changes) changed = changed || change.first == key;
      if (!changed) all.emplace_back(key, value);
    }
    for (const auto& change : changes) {
      if (!change.second.isString() || change.second.toStringRef() != "absent") all.push_back(change);
    }
    call(name, all);
  }
};
const c10::IValue kAbsent("absent");

TEST(Limits, FusionAttention) {
  const auto q = half({2, 5, 4, 16}), mask = causal_mask().to(kNpu);
  const Call fusion{"npu::npu_fusion_attention",
                    {{"query", q}, {"key", q}, {"value", q}, {"head_num", 4}, {"input_layout", "BSND"}}};
  EXPECT_NO_THROW(fusion.with({}));
  EXPECT_REFUSED("fp16, bf16 and fp32",
                 fusion.with({{"query", q.to(at::kInt)}, {"key", q.to(at::kInt)}, {"value", q.to(at::kInt)}}));
  EXPECT_REFUSED("differ in type", fusion.with({{"query", q.to(at::kFloat)}}));
  const auto three = q.narrow(2, 0, 3).contiguous();
  EXPECT_REFUSED("do not divide", fusion.with({{"key", three}, {"value", three}}));
  EXPECT_REFUSED("2048 x 2048", fusion.with({{"sparse_mode", 3}, {"atten_mask", mask.narrow(0, 0, 5)}}));
  EXPECT_REFUSED("the mask is bool", fusion.with({{"atten_mask", half({5, 5})}}));
  EXPECT_REFUSED("fewer columns", fusion.with({{"atten_mask", mask.narrow(0, 0, 5).narrow(1, 0, 4).contiguous()}}));
  const auto packed = q.flatten(0, 1);
  EXPECT_REFUSED("does not end", fusion.with({{"query", packed},
                                              {"key", packed},
                                              {"value", packed},
                                              {"input_layout", "TND"},
                                              {"actual_seq_qlen", Lengths{4, 9}},
                                              {"actual_seq_kvlen", Lengths{4, 10}}}));
}
TEST(Limits, InferAttention) {
  const auto q = half({2, 5, 4, 32}), mask = causal_mask().to(kNpu);
  const Call plain{"npu::npu_fused_infer_attention_score",
                   {{"query", q}, {"key", q}, {"value", q}, {"num_heads", 4}, {"input_layout", "BSND"}}};
  const auto all = [](const Tensor& x) { return Named{{"query", x}, {"key", x}, {"value", x}}; };
  EXPECT_NO_THROW(plain.with({}));
  EXPECT_REFUSED("fp16 or bf16", plain.with(all(q.to(at::kFloat))));
  EXPECT_REFUSED("differ in type", plain.with({{"key", q.to(at::kBFloat16)}, {"value", q.to(at::kBFloat16)}}));
  EXPECT_REFUSED("multiple of 16", plain.with(all(half({2, 5, 4, 24}))));
  EXPECT_REFUSED("1 to 512", plain.with(all(half({2, 5, 4, 528}))));
  EXPECT_REFUSED("number of heads", plain.with({{"num_heads", 2}}));
  EXPECT_REFUSED("sparse_mode is 0 to 4", plain.with({{"sparse_mode", 5}}));
  EXPECT_REFUSED("2048 x 2048", plain.with({{"sparse_mode", 3}}));
  EXPECT_REFUSED("2048 x 2048",
                 plain.with({{"sparse_mode", 3}, {"atten_mask", at::zeros({5, 5}, at::kBool).to(kNpu)}}));
  EXPECT_REFUSED("contiguous", plain.with({{"query", half({2, 4, 5, 32}).transpose(1, 2)}}));
  EXPECT_REFUSED("above the key's length", plain.with({{"actual_seq_lengths_kv", Lengths{6, 5}}}));
  EXPECT_REFUSED("no fake",
                 plain.with({{"kv_padding_size", whole({0}, at::kLong)}, {"actual_seq_lengths_kv", Lengths{5, 5}}}));

  const auto t = half({9, 4, 128});
  const Call packed{"npu::npu_fused_infer_attention_score",
                    {{"query", t},
                     {"key", t},
                     {"value", t},
                     {"num_heads", 4},
                     {"input_layout", "TND"},
                     {"actual_seq_lengths", Lengths{4, 9}},
                     {"actual_seq_lengths_kv", Lengths{4, 9}}}};
  EXPECT_NO_THROW(packed.with({}));
  EXPECT_REFUSED("TND takes head sizes", packed.with(all(half({9, 4, 32}))));
  EXPECT_REFUSED("no batch", packed.with({{"actual_seq_lengths", kAbsent}, {"actual_seq_lengths_kv", kAbsent}}));
  EXPECT_REFUSED("differ in head size", packed.with({{"key", half({9, 4, 192})}}));
  EXPECT_REFUSED("sparse modes 2 to 4", packed.with({{"atten_mask", mask}}));
  EXPECT_REFUSED("running totals", packed.with({{"actual_seq_lengths", Lengths{9, 4}}}));
  EXPECT_REFUSED("does not end", packed.with({{"actual_seq_lengths", Lengths{4, 8}}}));
  EXPECT_REFUSED("does not end", packed.with({{"actual_seq_lengths_kv", Lengths{4, 5}}}));
  EXPECT_REFUSED(
      "512 or 128",
      packed.with({{"query", half({9, 4, 64})}, {"query_rope", half({9, 4, 64})}, {"key_rope", half({9, 4, 64})}}));
}
TEST(Limits, PagedAttention) {
  const auto cache = half({8, 16, 512}), table = whole({5, 2, 0, 3, 7, 1}).view({2, 3});
  const Call paged{"npu::npu_fused_infer_attention_score",
                   {{"query", half({9, 4, 128})},
                    {"key", cache},
                    {"value", cache},
                    {"num_heads", 4},
                    {"input_layout", "TND"},
                    {"block_table", table},
                    {"block_size", 16},
                    {"actual_seq_lengths", Lengths{4, 9}},
                    {"actual_seq_lengths_kv", Lengths{40, 9}}}};
  EXPECT_NO_THROW(paged.with({}));
  EXPECT_REFUSED("block_table is int32", paged.with({{"block_table", table.to(at::kLong)}}));
  EXPECT_REFUSED("[batch, blocks]", paged.with({{"block_table", table.narrow(0, 0, 1)}}));
  EXPECT_REFUSED("too few columns", paged.with({{"actual_seq_lengths_kv", Lengths{60, 9}}}));
  EXPECT_REFUSED("block_size is not", paged.with({{"block_size", 32}}));
  EXPECT_REFUSED("multiple of 16",
                 paged.with({{"key", half({8, 8, 512})}, {"value", half({8, 8, 512})}, {"block_size", 8}}));
  EXPECT_REFUSED(
      "is the heads",
      paged.with({{"key", cache.view({8, 16, 4, 128})}, {"value", cache.view({8, 16, 4, 128})}, {"block_size", 4}}));
  const Named rows{{"query", half({2, 5, 512})}, {"input_layout", "BSH"}, {"actual_seq_lengths", kAbsent}};
  EXPECT_REFUSED("multiple of 128", paged.with(rows));
}
TEST(Limits, NormsAndEmbeddings) {
  const auto x = half({2, 64}), gamma = half({64});
  const Call norm{"npu::npu_rms_norm", {{"input", x}, {"gamma", gamma}}};
  EXPECT_REFUSED("gamma's shape", norm.with({{"gamma", half({32})}}));
  EXPECT_REFUSED("fp32, fp16 and bf16", norm.with({{"input", x.to(at::kInt)}, {"gamma", gamma.to(at::kInt)}}));
  EXPECT_REFUSED("type of x, or fp32", norm.with({{"gamma", gamma.to(at::kBFloat16)}}));
  EXPECT_REFUSED("differ", call("npu::npu_add_rms_norm", {{"x1", x}, {"x2", x.narrow(0, 0, 1)}, {"gamma", gamma}}));
  EXPECT_REFUSED("odd", call("npu::npu_swiglu", {{"input", half({2, 5})}}));
  const Call rotary{"npu::npu_rotary_mul",
                    {{"input", half({2, 5, 4, 8})}, {"r1", half({1, 5, 1, 8})}, {"r2", half({1, 5, 1, 8})}}};
  EXPECT_NO_THROW(rotary.with({}));
  EXPECT_REFUSED("even",
                 rotary.with({{"input", half({2, 5, 4, 7})}, {"r1", half({1, 5, 1, 7})}, {"r2", half({1, 5, 1, 7})}}));
  EXPECT_REFUSED("do not broadcast", rotary.with({{"r1", half({1, 4, 1, 8})}, {"r2", half({1, 4, 1, 8})}}));
  EXPECT_REFUSED("the same for all",
                 rotary.with({{"r1", half({2, 5, 1, 8})}, {"r2", half({2, 5, 1, 8})}, {"rotary_mode", "interleave"}}));
  EXPECT_REFUSED("[B, N, S, 64]",
                 call("npu::npu_interleave_rope",
                      {{"x", half({2, 3, 5, 32})}, {"cos", half({2, 1, 5, 32})}, {"sin", half({2, 1, 5, 32})}}));
}
TEST(Limits, PagedCache) {
  const Call scatter{"npu::npu_scatter_pa_kv_cache",
                     {{"key", half({2, 2, 32})},
                      {"value", half({2, 2, 32})},
                      {"key_cache", half({6, 4, 2, 32})},
                      {"value_cache", half({6, 4, 2, 32})},
                      {"slot_mapping", whole({3, 4})},
                      {"cache_mode", "Norm"}}};
  EXPECT_NO_THROW(scatter.with({}));
  EXPECT_REFUSED("PA_NZ takes caches", scatter.with({{"cache_mode", kAbsent}}));
  EXPECT_REFUSED("int32 or int64", scatter.with({{"slot_mapping", at::ones({2}).to(kNpu)}}));
  EXPECT_REFUSED("one slot a token", scatter.with({{"slot_mapping", whole({3})}}));
  EXPECT_REFUSED("differ in type", scatter.with({{"key_cache", half({6, 4, 2, 32}).to(at::kBFloat16)}}));
  EXPECT_REFUSED("contiguous", scatter.with({{"key", half({2, 2, 32}).transpose(0, 1)}}));
}
TEST(Limits, Experts) {
  const Call gate{"npu::npu_moe_gating_top_k", {{"x", half({4, 32})}, {"k", 4}}};
  EXPECT_REFUSED("k or k_group", gate.with({{"k", 40}}));
  EXPECT_REFUSED("renorm is 0", gate.with({{"renorm", 1}}));
  EXPECT_REFUSED("divides the experts", gate.with({{"group_count", 5}}));
  const Call route{"npu::npu_moe_init_routing_v2",
                   {{"x", half({4, 8})},
                    {"expert_idx", whole({0, 1, 2, 3}).view({4, 1})},
                    {"expert_num", 4},
                    {"active_expert_range", Lengths{0, 4}}}};
  EXPECT_NO_THROW(route.with({}));
  EXPECT_REFUSED("expert_idx is int32", route.with({{"expert_idx", whole({0, 1, 2, 3}, at::kLong).view({4, 1})}}));
  EXPECT_REFUSED("active_expert_range", route.with({{"active_expert_range", Lengths{0, 5}}}));
  EXPECT_REFUSED("expert_capacity", route.with({{"drop_pad_mode", 1}, {"expert_capacity", 9}}));
  const auto x = half({10, 16}), weight = half({3, 16, 24});
  const Call grouped{"npu::npu_grouped_matmul",
                     {{"x", Tensors{x}},
                      {"weight", Tensors{weight}},
                      {"group_list", whole({4, 4, 10}, at::kLong)},
                      {"split_item", 3},
                      {"group_type", 0}}};
  EXPECT_NO_THROW(grouped.with({}));
  EXPECT_REFUSED("group_list is int64", grouped.with({{"group_list", whole({4, 4, 10})}}));
  EXPECT_REFUSED("in length", grouped.with({{"group_list", whole({4, 10}, at::kLong)}}));
  EXPECT_REFUSED("differ in type", grouped.with({{"weight", Tensors{weight.to(at::kBFloat16)}}}));
  EXPECT_REFUSED("the bias is fp16", grouped.with({{"bias", Tensors{at::ones({3, 24}).to(kNpu)}}}));
  EXPECT_REFUSED("[groups, k, n]", grouped.with({{"weight", Tensors{weight[0]}}}));
}
TEST(Limits, Quantisation) {
  EXPECT_REFUSED("fp16 and bf16", call("npu::npu_dynamic_quant", {{"input", at::ones({3, 4}).to(kNpu)}}));
  const auto a = at::ones({5, 64}, at::kChar).to(kNpu), b = at::ones({64, 32}, at::kChar).to(kNpu);
  const Call product{
      "npu::npu_quant_matmul",
      {{"x1", a}, {"x2", b}, {"scale", at::rand({32}).to(kNpu)}, {"output_dtype", int64_t(at::kBFloat16)}}};
  EXPECT_NO_THROW(product.with({}));
  EXPECT_REFUSED("scale is [1] or [n]", product.with({{"scale", at::rand({7}).to(kNpu)}}));
  EXPECT_REFUSED("pertoken_scale is fp32 [m]", product.with({{"pertoken_scale", at::rand({2}).to(kNpu)}}));
  EXPECT_REFUSED("packed scale",
                 product.with({{"scale", half({32}).to(at::kBFloat16)}, {"output_dtype", int64_t(at::kHalf)}}));
  EXPECT_REFUSED("int8", product.with({{"x1", half({5, 64})}, {"x2", half({64, 32})}}));
}

// What only the kernel sees ends as an exception of the device.
TEST(Limits, WhatOnlyTheKernelSees) {
  const auto fails = [](const char* what, const Call& call, const Named& changes) {
    EXPECT_NO_THROW(call.with({})) << what;
    EXPECT_NE(refusal([&] { call.with(changes); }), "accepted") << what;
    set("clear", "");
    aclrtGetLastError(ACL_RT_THREAD_LEVEL);
  };
  const auto q = half({2, 5, 4, 32}), cache = half({8, 16, 512}), table = whole({5, 2, 0, 3, 7, 1}).view({2, 3});
  const Call causal{"npu::npu_fused_infer_attention_score",
                    {{"query", q},
                     {"key", q},
                     {"value", q},
                     {"num_heads", 4},
                     {"input_layout", "BSND"},
                     {"sparse_mode", 3},
                     {"atten_mask", causal_mask().to(kNpu)}}};
  fails("a mask the wrong way round", causal, {{"atten_mask", causal_mask().logical_not().to(kNpu)}});
  const Call paged{"npu::npu_fused_infer_attention_score",
                   {{"query", half({9, 4, 128})},
                    {"key", cache},
                    {"value", cache},
                    {"num_heads", 4},
                    {"input_layout", "TND"},
                    {"block_table", table},
                    {"block_size", 16},
                    {"actual_seq_lengths", Lengths{4, 9}},
                    {"actual_seq_lengths_kv", Lengths{40, 9}}}};
  fails("a block that does not exist", paged, {{"block_table", table.add(9)}});
  const Call scatter{"npu::npu_scatter_pa_kv_cache",
                     {{"key", half({2, 2, 32})},
                      {"value", half({2, 2, 32})},
                      {"key_cache", half({6, 4, 2, 32})},
                      {"value_cache", half({6, 4, 2, 32})},
                      {"slot_mapping", whole({3, 4})},
                      {"cache_mode", "Norm"}}};
  fails("a slot past the cache", scatter, {{"slot_mapping", whole({3, 24})}});
  const Call grouped{"npu::npu_grouped_matmul",
                     {{"x", Tensors{half({10, 16})}},
                      {"weight", Tensors{half({3, 16, 24})}},
                      {"group_list", whole({4, 4, 10}, at::kLong)},
                      {"split_item", 3},
                      {"group_type", 0}}};
  fails("a group past the rows", grouped, {{"group_list", whole({4, 4, 11}, at::kLong)}});
  fails("totals that fall", grouped, {{"group_list", whole({4, 3, 10}, at::kLong)}});
  const Call route{"npu::npu_moe_init_routing_v2",
                   {{"x", half({4, 8})},
                    {"expert_idx", whole({0, 1, 2, 3}).view({4, 1})},
                    {"expert_num", 4},
                    {"active_expert_range", Lengths{0, 4}}}};
  fails("an expert that does not exist", route, {{"expert_idx", whole({0, 1, 2, 4}).view({4, 1})}});
  EXPECT_TRUE(at::ones({4}).to(kNpu).add(1).cpu().equal(at::ones({4}).add(1)));
}
}  // namespace
}  // namespace fake
