// Mixture of experts, quantisation, and grouped and quantised products of torch_npu against plain maths.
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <acl/acl.h>

#include "operators_test.h"

namespace fake {
namespace {
const std::vector<at::ScalarType> kFloats{at::kFloat, at::kBFloat16, at::kHalf}, kHalves{at::kBFloat16, at::kHalf};
using Tensors = std::vector<Tensor>;

Tensor signed_bytes(at::IntArrayRef sizes) { return at::randint(-128, 128, sizes).to(at::kChar); }
Tensor largest(const Tensor& x, int64_t k) { return std::get<1>(x.sort(true, -1, true)).narrow(-1, 0, k); }
// To int8 with one scale a row.
std::pair<Tensor, Tensor> quantised(const Tensor& x) {
  const auto scale = x.abs().amax(-1) / 127;
  return {(x / scale.unsqueeze(-1)).round().to(at::kChar), scale};
}

TEST(ExpertOperators, Gating) {
  for (auto type : kFloats) {
    for (int64_t norm : {0, 1}) {
      for (int64_t groups : {1, 4}) {
        const auto x = random({7, 32}, type), bias = random({32}, type);
        const auto got = call("npu::npu_moe_gating_top_k", {{"x", x.to(kNpu)},
                                                            {"k", 4},
                                                            {"bias", bias.to(kNpu)},
                                                            {"group_count", groups},
                                                            {"k_group", groups == 1 ? 1 : 2},
                                                            {"group_select_mode", 1},
                                                            {"norm_type", norm},
                                                            {"out_flag", true},
                                                            {"routed_scaling_factor", 2.5}});
        const auto score = norm ? x.to(at::kFloat).sigmoid() : x.to(at::kFloat).softmax(-1);
        auto chosen = score + bias.to(at::kFloat);
        if (groups > 1) {
          const auto grouped = chosen.unflatten(-1, {groups, -1});
          const auto keep = largest(std::get<0>(grouped.topk(2, -1)).sum(-1), 2);
          const auto hidden = at::full({7, groups}, true, at::kBool).scatter(-1, keep, false);
          chosen = grouped.masked_fill(hidden.unsqueeze(-1), -1e30).flatten(1);
        }
        const auto index = largest(chosen, 4);
        auto weight = score.gather(1, index);
        if (norm) weight = weight / weight.sum(-1, true);
        expect_close(got[0], weight * 2.5, "weights", 1e-2);
        expect_close(got[1], index, "experts", 0);
        expect_close(got[2], score, "scores", 1e-5);
      }
    }
    const auto x = random({5, 16}, type), finished = at::tensor({0, 1, 0, 0, 0}, at::kInt).to(at::kBool);
    const auto got =
        call("npu::npu_moe_gating_top_k_softmax", {{"x", x.to(kNpu)}, {"finished", finished.to(kNpu)}, {"k", 3}});
    const auto index = largest(x.to(at::kFloat).softmax(-1), 3);
    expect_close(got[0], x.to(at::kFloat).softmax(-1).gather(1, index), "softmax weights", 1e-2);
    expect_close(got[1], index.masked_fill(finished.unsqueeze(1), 16), "softmax experts", 0);
    expect_close(got[2], at::arange(15).view({3, 5}).t(), "softmax rows", 0);
  }
}

// Nine rows of three experts of eight; those of the range, sorted.
struct Routing {
  int64_t first, last;
  Tensor expert = at::stack([] {
    Tensors rows;
    for (int i = 0; i < 9; ++i) rows.push_back(at::randperm(8).narrow(0, 0, 3));
    return rows;
  }());
  Tensor own = expert.flatten().ge(first).logical_and(expert.flatten().lt(last)),
         order = std::get<1>(expert.flatten().masked_fill(own.logical_not(), 99).sort(true, 0, false)),
         counts = at::bincount(expert.flatten().masked_select(own) - first, {}, last - first);
  int64_t available = own.sum().item<int64_t>();

  Named given(const Tensor& x) const {
    return {{"x", x.to(kNpu)},
            {"expert_idx", expert.to(at::kInt).to(kNpu)},
            {"expert_num", 8},
            {"expert_tokens_num_flag", true},
            {"active_expert_range", std::vector<int64_t>{first, last}}};
  }
  Tensors operator()(const Tensor& x, const Named& more) const {
    auto all = given(x);
    all.insert(all.end(), more.begin(), more.end());
    return call("npu::npu_moe_init_routing_v2", all);
  }
};
TEST(ExpertOperators, Routing) {
  for (auto type : kFloats) {
    const auto x = random({9, 16}, type);
    for (const Routing& route : {Routing{.first = 0, .last = 8}, Routing{.first = 2, .last = 6}}) {
      const auto n = route.available;
      const auto source = route.order.narrow(0, 0, n);
      const auto rows = x.index_select(0, source.floor_divide(3));
      const auto scattered = route(x, {{"row_idx_type", 1}, {"expert_tokens_num_type", 1}});
      expect_close(scattered[0].narrow(0, 0, n), rows, "rows", 0);
      expect_close(scattered[1].narrow(0, 0, n), source, "sources", 0);
      expect_close(scattered[2], route.counts, "counts", 0);
      const auto gathered = route(x, {{"row_idx_type", 0}, {"expert_tokens_num_type", 0}});
      auto places = at::full({27}, -1, at::kLong);
      places.index_put_({std::optional(source)}, at::arange(n));
      expect_close(gathered[1], places, "places", 0);
      expect_close(gathered[2], route.counts.cumsum(0), "totals", 0);
      const auto pairs = route(x, {{"expert_tokens_num_type", 2}})[2].cpu();
      const auto used = route.counts.nonzero().flatten();
      expect_close(pairs.narrow(0, 0, used.numel()),
                   at::stack({used + route.first, route.counts.index_select(0, used)}, 1), "pairs", 0);
      expect_close(route(x, {{"active_num", 5}, {"expert_tokens_num_type", 1}})[0], rows.narrow(0, 0, 5), "five rows",
                   0);
      const auto bytes = route(x, {{"quant_mode", 1}, {"expert_tokens_num_type", 1}});
      const auto [want, scale] = quantised(rows.to(at::kFloat));
      expect_close(bytes[0].narrow(0, 0, n), want, "quantised rows", 0);
      expect_close(bytes[3].narrow(0, 0, n), scale, "scales", 1e-6);
    }
    const Routing route{.first = 0, .last = 8};
    const auto padded = route(x, {{"drop_pad_mode", 1}, {"expert_capacity", 2}, {"expert_tokens_num_type", 1}});
    auto want = at::zeros({8, 2, 16}, type);
    std::vector<int64_t> used(8);
    for (int64_t i = 0; i < 27; ++i) {
      const auto e = route.expert.flatten()[i].item<int64_t>();
      if (used[e] < 2) want[e][used[e]++].copy_(x[i / 3]);
    }
    expect_close(padded[0], want, "padded", 0);
  }
}
// There and back: gate, route, finish, in the first and the second form.
TEST(ExpertOperators, RoutingThereAndBack) {
  for (auto type : kFloats) {
    const auto x = random({9, 16}, type), skip = random({9, 16}, type), bias = random({8, 16}, type);
    const auto gate = call("npu::npu_moe_gating_top_k_softmax", {{"x", random({9, 8}, type).to(kNpu)}, {"k", 3}});
    const auto weight = gate[0].cpu().to(at::kFloat);
    const auto routed = call("npu::npu_moe_init_routing",
                             {{"x", x.to(kNpu)}, {"row_idx", gate[2]}, {"expert_idx", gate[1]}, {"active_num", 9}});
    const auto totals =
        call("npu::npu_moe_compute_expert_tokens", {{"sorted_expert_for_source_row", routed[2]}, {"num_expert", 8}})[0];
    expect_close(totals, at::bincount(gate[1].cpu().flatten(), {}, 8).cumsum(0), "tokens", 0);
    const auto finish = [&](const Named& more, const Tensor& rows, const Tensor& places) {
      Named all{{"expanded_permuted_rows", rows},  {"skip1", c10::IValue()}, {"skip2", c10::IValue()},
                {"bias", c10::IValue()},           {"scales", gate[0]},      {"expanded_src_to_dst_row", places},
                {"export_for_source_row", gate[1]}};
      for (const auto& [key, value] : more) {
        bool known = false;
        for (auto& [name, old] : all) {
          if (name == key) old = value, known = true;
        }
        if (!known) all.emplace_back(key, value);
      }
      return call("npu::npu_moe_finalize_routing", all)[0];
    };
    const auto sum = x.to(at::kFloat) * weight.sum(-1, true);
    expect_close(finish({{"skip1", skip.to(kNpu)}}, routed[0], routed[1]), sum + skip.to(at::kFloat), "with a skip",
                 5e-2);
    const auto biased = (x.to(at::kFloat).unsqueeze(1) +
                         bias.to(at::kFloat).index_select(0, gate[1].cpu().flatten()).view({9, 3, 16})) *
                        weight.unsqueeze(-1);
    expect_close(finish({{"bias", bias.to(kNpu)}}, routed[0], routed[1]), biased.sum(1), "with a bias", 5e-2);
    const auto second = call("npu::npu_moe_init_routing_v2", {{"x", x.to(kNpu)},
                                                              {"expert_idx", gate[1]},
                                                              {"expert_num", 8},
                                                              {"expert_tokens_num_flag", true},
                                                              {"expert_tokens_num_type", 1},
                                                              {"active_expert_range", std::vector<int64_t>{0, 8}}});
    expect_close(finish({{"drop_pad_mode", 2}}, second[0], second[1]), sum, "by rows", 5e-2);
  }
}

TEST(ExpertOperators, Quantisation) {
  for (auto type : kHalves) {
    const auto x = random({3, 5, 32}, type), smooth = at::rand({32}).to(type);
    const auto [want, scale] = quantised(x.to(at::kFloat));
    const auto got = call("npu::npu_dynamic_quant", {{"input", x.to(kNpu)}});
    expect_close(got[0], want, "dynamic", 0);
    expect_close(got[1], scale, "dynamic scale", 1e-6);
    const auto [smoothed, smooth_scale] = quantised(x.to(at::kFloat) * smooth.to(at::kFloat));
    expect_close(call("npu::npu_dynamic_quant", {{"input", x.to(kNpu)}, {"smooth_scales", smooth.to(kNpu)}})[0],
                 smoothed, "smooth", 1);
  }
  const auto x = random({4, 6}), scale = at::rand({6}) + 0.1, zero = at::randint(-5, 5, {6}, at::kInt);
  const auto qint8 = int64_t(at::kQInt8), quint8 = int64_t(at::kQUInt8), half = int64_t(at::kHalf);
  expect_close(
      call("npu::npu_quantize",
           {{"input", x.to(kNpu)}, {"scales", scale.to(kNpu)}, {"zero_points", zero.to(kNpu)}, {"dtype", qint8}})[0],
      (x / scale + zero).round().clamp(-128, 127), "quantize", 0);
  expect_close(call("npu::npu_quantize", {{"input", x.to(kNpu)},
                                          {"scales", scale.narrow(0, 0, 4).to(kNpu)},
                                          {"zero_points", c10::IValue()},
                                          {"dtype", quint8},
                                          {"axis", 0}})[0],
               (x / scale.narrow(0, 0, 4).unsqueeze(1)).round().clamp(0, 255), "quantize rows", 0);
  expect_close(call("npu::npu_quantize", {{"input", x.to(kNpu)},
                                          {"scales", scale.to(kNpu)},
                                          {"zero_points", c10::IValue()},
                                          {"dtype", int64_t(at::kChar)},
                                          {"axis", -1},
                                          {"div_mode", false}})[0],
               (x * scale).round().clamp(-128, 127), "quantize by factors", 0);
  const auto bytes = signed_bytes({4, 6});
  expect_close(call("npu::npu_anti_quant", {{"x", bytes.to(kNpu)},
                                            {"scale", scale.to(kNpu)},
                                            {"offset", zero.to(at::kFloat).to(kNpu)},
                                            {"dst_dtype", half}})[0],
               (bytes.to(at::kFloat) + zero) * scale, "anti_quant", 1e-2);
}
TEST(ExpertOperators, QuantisedProducts) {
  const auto a = signed_bytes({5, 64}), b = signed_bytes({64, 32}), bias = at::randint(-999, 999, {32}, at::kInt);
  const auto scale = at::rand({32}) * 1e-3, token = at::rand({5});
  const auto sum = a.to(at::kDouble).matmul(b.to(at::kDouble));
  const auto product = [&](at::ScalarType type, const Named& more) {
    Named all{{"x1", a.to(kNpu)}, {"x2", b.to(kNpu)}, {"scale", scale.to(kNpu)}, {"output_dtype", int64_t(type)}};
    all.insert(all.end(), more.begin(), more.end());
    const auto got = call("npu::npu_quant_matmul", all)[0];
    EXPECT_EQ(got.scalar_type(), type);
    return got;
  };
  const c10::IValue by_token = token.to(kNpu), whole = bias.to(kNpu), real = scale.to(kNpu);
  expect_close(product(at::kBFloat16, {}), sum * scale, "bf16", 2e-2);
  expect_close(product(at::kBFloat16, {{"pertoken_scale", by_token}, {"bias", whole}}),
               (sum + bias) * scale * token.unsqueeze(1), "bf16 by token", 2e-2);
  expect_close(product(at::kHalf, {{"pertoken_scale", by_token}, {"bias", real}}),
               sum * scale * token.unsqueeze(1) + scale, "fp16 by token", 2e-2);
  expect_close(product(at::kHalf, {{"bias", whole}}), (sum + bias) * scale, "fp16", 2e-2);  // torch_npu packs the scale
  expect_close(product(at::kChar, {}), (sum * scale).round().clamp(-128, 127), "int8", 1);
  expect_close(product(at::kInt, {{"bias", whole}}), sum + bias, "int32", 0);
}

TEST(ExpertOperators, QuantisedWeights) {
  for (auto type : kHalves) {
    const auto x = random({5, 64}, type), scale = (at::rand({32}) * 0.01).to(type), offset = random({32}, type);
    const auto weight = signed_bytes({64, 32}), bias = random({32}, type == at::kHalf ? at::kHalf : at::kFloat);
    const auto got = call("npu::npu_weight_quant_batchmatmul", {{"x", x.to(kNpu)},
                                                                {"weight", weight.to(kNpu)},
                                                                {"antiquant_scale", scale.to(kNpu)},
                                                                {"antiquant_offset", offset.to(kNpu)},
                                                                {"bias", bias.to(kNpu)}})[0];
    const auto factor = (weight.to(at::kFloat) + offset.to(at::kFloat)) * scale.to(at::kFloat);
    expect_close(got, x.to(at::kFloat).matmul(factor) + bias.to(at::kFloat), "int8 weights", 5e-2);
  }
}

TEST(ExpertOperators, GroupedProducts) {
  const auto counts = at::tensor({4, 0, 6}, at::kLong);
  const auto rows = [](const Tensor& x, const Tensor& weight) {
    return at::cat({x.narrow(0, 0, 4).matmul(weight[0]), x.narrow(0, 4, 6).matmul(weight[2])});
  };
  const auto by_row = [](const Tensor& t) { return at::cat({t[0].expand({4, 24}), t[2].expand({6, 24})}); };
  const auto grouped = [](const Tensors& x, const Tensors& weight, const Named& more) {
    Named all{{"x", x}, {"weight", weight}};
    all.insert(all.end(), more.begin(), more.end());
    return call("npu::npu_grouped_matmul", all);
  };
  const auto single = [&](const Tensor& list, int64_t kind) {
    return Named{{"group_list", list.to(kNpu)}, {"split_item", 3}, {"group_type", 0}, {"group_list_type", kind}};
  };
  const auto with = [](Named all, const Named& more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  for (auto type : kFloats) {
    const auto x = random({10, 16}, type), weight = random({3, 16, 24}, type);
    const auto want = rows(x.to(at::kFloat), weight.to(at::kFloat));
    expect_close(grouped({x.to(kNpu)}, {weight.to(kNpu)}, single(counts.cumsum(0), 0))[0], want, "totals", 5e-2);
    expect_close(
        grouped({x.to(kNpu)}, {weight.transpose(1, 2).contiguous().to(kNpu).transpose(1, 2)}, single(counts, 1))[0],
        want, "transposed", 5e-2);
    const auto bias = random({3, 24}, type == at::kHalf ? at::kHalf : at::kFloat);
    expect_close(
        grouped({x.to(kNpu)}, {weight.to(kNpu)}, with(single(counts, 1), {{"bias", Tensors{bias.to(kNpu)}}}))[0],
        want + by_row(bias.to(at::kFloat)), "bias", 5e-2);
    if (type == at::kFloat) continue;
    const Tensors parts{x.narrow(0, 0, 4).to(kNpu), x.narrow(0, 4, 6).to(kNpu)},
        two{weight[0].to(kNpu), weight[2].to(kNpu)};
    const auto apart = grouped(parts, two, {{"split_item", 0}, {"group_type", -1}});
    expect_close(at::cat({apart[0].cpu(), apart[1].cpu()}), want, "lists", 5e-2);
    const auto k = random({5, 10}, type), w = random({10, 7}, type);
    const auto by_k =
        grouped({k.to(kNpu)}, {w.to(kNpu)},
                {{"group_list", at::tensor({4, 10}, at::kLong).to(kNpu)}, {"split_item", 3}, {"group_type", 2}})[0];
    expect_close(by_k[1], k.narrow(1, 4, 6).to(at::kFloat).matmul(w.narrow(0, 4, 6).to(at::kFloat)),
                 "the reduced dimension", 5e-2);
    const auto bytes = signed_bytes({3, 16, 24}), factor = (at::rand({3, 24}) * 0.01).to(type);
    expect_close(
        grouped({x.to(kNpu)}, {bytes.to(kNpu)},
                with(single(counts, 1), {{"antiquant_scale", Tensors{factor.to(kNpu)}},
                                         {"antiquant_offset", Tensors{factor.to(kNpu)}}}))[0],
        rows(x.to(at::kFloat), (bytes + factor.to(at::kFloat).unsqueeze(1)) * factor.to(at::kFloat).unsqueeze(1)),
        "int8 weights", 5e-2);
  }
  const auto x = signed_bytes({10, 16}), weight = signed_bytes({3, 16, 24});
  const auto scale = at::rand({3, 24}) * 1e-2, token = at::rand({10});
  const auto want = rows(x.to(at::kDouble), weight.to(at::kDouble)) * by_row(scale) * token.unsqueeze(1);
  const Named scales{{"scale", Tensors{scale.to(kNpu)}},
                     {"per_token_scale", Tensors{token.to(kNpu)}},
                     {"output_dtype", int64_t(at::kHalf)}};
  expect_close(grouped({x.to(kNpu)}, {weight.to(kNpu)}, with(single(counts, 1), scales))[0], want, "int8", 2e-2);
  expect_close(grouped({x.to(kNpu)}, {weight.to(kNpu)}, with(with(single(counts, 1), scales), {{"act_type", 5}}))[0],
               at::silu(want), "silu", 2e-2);
  const auto list = at::tensor({0, 4, 2, 6, 1, 0}, at::kLong).view({3, 2});
  expect_close(grouped({x.to(kNpu)}, {weight.to(kNpu)}, with(single(list, 2), scales))[0], want, "pairs", 2e-2);
}

// A program without torch_npu's Python package cannot allow internal formats: casts to NZ give the plain layout. Before
// CANN 9.1 they go to a graph operator.
TEST(ExpertOperators, NzCastsGiveThePlainLayout) {
  char version[128] = {}, package[] = "runtime";
  ASSERT_EQ(aclsysGetVersionStr(package, version), ACL_SUCCESS);
  if (std::string(version) < "9.1") GTEST_SKIP() << "CANN " << version;
  const auto weight = random({48, 32}, at::kHalf);
  const auto cast =
      call("npu::npu_format_cast", {{"input", weight.to(kNpu)}, {"acl_format", ACL_FORMAT_FRACTAL_NZ}})[0];
  torch::jit::Stack stack{cast};
  c10::Dispatcher::singleton().findSchemaOrThrow("npu::get_npu_format", "").callBoxed(stack);
  EXPECT_EQ(stack[0].toInt(), int64_t(ACL_FORMAT_ND));
  expect_close(cast, weight, "cast", 0);
}
}  // namespace
}  // namespace fake
