// The fused operators of torch_npu against plain maths: attention, norms, rotary embeddings, the paged cache.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "operators_test.h"

namespace fake {
namespace {
using Lengths = std::vector<int64_t>;
const std::vector<at::ScalarType> kHalves{at::kBFloat16, at::kHalf}, kFloats{at::kFloat, at::kBFloat16, at::kHalf};
constexpr const char* kInfer = "npu::npu_fused_infer_attention_score";

// [tokens, heads, size] each; hidden is [n_q, n_kv].
Tensor attention(const Tensor& query, const Tensor& key, const Tensor& value, double scale, const Tensor& hidden = {}) {
  const auto by_head = [&](const Tensor& x) {
    return x.to(at::kFloat).transpose(0, 1).repeat_interleave(query.size(1) / x.size(1), 0);
  };
  auto score = at::matmul(by_head(query), by_head(key).transpose(1, 2)).mul(scale);
  if (hidden.defined()) score = score.masked_fill(hidden, -std::numeric_limits<float>::infinity());
  return at::matmul(score.softmax(-1), by_head(value)).transpose(0, 1);
}
// What a sparse mode hides: 2 from the top left, 3 to the bottom right, 4 a band of two before and none after.
Tensor hidden(int64_t mode, int64_t n_q, int64_t n_kv) {
  const auto distance = at::arange(n_kv).unsqueeze(0).sub(at::arange(n_q).unsqueeze(1));
  if (mode == 2) return distance.gt(0);
  if (mode == 3) return distance.gt(n_kv - n_q);
  if (mode == 4) return distance.sub(n_kv - n_q).gt(0).logical_or(distance.sub(n_kv - n_q).lt(-2));
  return {};
}
// x is [batch, tokens, heads, size].
Tensor laid_out(const std::string& layout, const Tensor& x) {
  if (layout == "BSH") return x.flatten(2);
  if (layout == "SBH") return x.flatten(2).transpose(0, 1).contiguous();
  return layout == "BNSD" ? x.transpose(1, 2).contiguous() : x;
}
Tensor plain(const std::string& layout, const Tensor& y, int64_t heads) {
  if (layout == "BSH") return y.unflatten(2, {heads, -1});
  if (layout == "SBH") return y.transpose(0, 1).unflatten(2, {heads, -1});
  return layout == "BNSD" ? y.transpose(1, 2) : y;
}
c10::IValue mask_of(int64_t mode) { return mode ? c10::IValue(causal_mask().to(kNpu)) : c10::IValue(); }

TEST(FusedOperators, FusionAttention) {
  for (auto type : kFloats) {
    for (const char* layout : {"BSND", "BSH", "BNSD", "SBH"}) {
      const auto q = random({2, 5, 4, 16}, type), k = random({2, 7, 2, 16}, type), v = random({2, 7, 2, 16}, type);
      for (int64_t mode : {0, 2, 3, 4}) {
        const auto got = call("npu::npu_fusion_attention", {{"query", laid_out(layout, q).to(kNpu)},
                                                            {"key", laid_out(layout, k).to(kNpu)},
                                                            {"value", laid_out(layout, v).to(kNpu)},
                                                            {"head_num", 4},
                                                            {"input_layout", layout},
                                                            {"scale", 0.3},
                                                            {"sparse_mode", mode},
                                                            {"pre_tockens", 2},
                                                            {"next_tockens", 0},
                                                            {"atten_mask", mask_of(mode)}})[0];
        for (int64_t b : {0, 1}) {
          expect_close(plain(layout, got.cpu(), 4)[b], attention(q[b], k[b], v[b], 0.3, hidden(mode, 5, 7)), layout,
                       2e-2);
        }
      }
    }
    const auto q = random({9, 4, 16}, type), kv = random({12, 2, 16}, type);
    const auto got = call("npu::npu_fusion_attention", {{"query", q.to(kNpu)},
                                                        {"key", kv.to(kNpu)},
                                                        {"value", kv.to(kNpu)},
                                                        {"head_num", 4},
                                                        {"input_layout", "TND"},
                                                        {"scale", 0.3},
                                                        {"sparse_mode", 3},
                                                        {"atten_mask", mask_of(3)},
                                                        {"actual_seq_qlen", Lengths{4, 4, 9}},
                                                        {"actual_seq_kvlen", Lengths{5, 7, 12}}})[0];
    expect_close(got.narrow(0, 0, 4),
                 attention(q.narrow(0, 0, 4), kv.narrow(0, 0, 5), kv.narrow(0, 0, 5), 0.3, hidden(3, 4, 5)), "TND",
                 2e-2);
    expect_close(got.narrow(0, 4, 5),
                 attention(q.narrow(0, 4, 5), kv.narrow(0, 7, 5), kv.narrow(0, 7, 5), 0.3, hidden(3, 5, 5)), "TND",
                 2e-2);
  }
}

TEST(FusedOperators, InferAttentionWithoutPages) {
  for (auto type : kHalves) {
    for (const char* layout : {"BSND", "BSH", "BNSD"}) {
      for (int64_t tokens : {1, 5}) {
        for (int64_t mode : {0, 2, 3, 4}) {
          const auto q = random({2, tokens, 4, 32}, type), k = random({2, 7, 2, 32}, type),
                     v = random({2, 7, 2, 32}, type);
          const Named common{{"query", laid_out(layout, q).to(kNpu)},
                             {"key", laid_out(layout, k).to(kNpu)},
                             {"value", laid_out(layout, v).to(kNpu)},
                             {"num_key_value_heads", 2},
                             {"input_layout", layout},
                             {"sparse_mode", mode},
                             {"pre_tokens", 2},
                             {"next_tokens", 0},
                             {"atten_mask", mask_of(mode)}};
          auto first = common, second = common;
          first.insert(first.end(), {{"num_heads", 4}, {"scale", 0.3}, {"actual_seq_lengths_kv", Lengths{7, 6}}});
          second.insert(second.end(),
                        {{"num_query_heads", 4}, {"softmax_scale", 0.3}, {"actual_seq_kvlen", Lengths{7, 6}}});
          for (const auto& got : {call(kInfer, first)[0], call("npu::npu_fused_infer_attention_score_v2", second)[0]}) {
            for (int64_t b : {0, 1}) {
              const auto n = 7 - b;
              const auto want = attention(q[b], k[b].narrow(0, 0, n), v[b].narrow(0, 0, n), 0.3,
                                          tokens == 1 ? Tensor() : hidden(mode, tokens, n));
              expect_close(plain(layout, got.cpu(), 4)[b], want, layout, 2e-2);
            }
          }
        }
      }
    }
    // A layout before the line is the query's, one after it the result's.
    const auto q = random({2, 5, 4, 32}, type);
    const auto in = laid_out("BNSD", q).to(kNpu);
    const auto got =
        call(kInfer, {{"query", in}, {"key", in}, {"value", in}, {"num_heads", 4}, {"input_layout", "BNSD_BSND"}})[0];
    expect_close(got[1], attention(q[1], q[1], q[1], 1), "BNSD_BSND", 2e-2);
  }
}

// Two sequences of 20 and 37 keys in pages of 16; queries of 1 and 4 tokens.
struct Pages {
  at::ScalarType type;
  Tensor key = random({8, 16, 256}, type), value = random({8, 16, 256}, type), query = random({5, 4, 128}, type),
         table = at::tensor({5, 2, 0, 3, 7, 1}, at::kInt).view({2, 3});
  Lengths kv{20, 37};

  Tensor sequence(const Tensor& cache, int64_t b) const {
    return cache.index_select(0, table[b]).view({-1, 2, 128}).narrow(0, 0, kv[b]);
  }
  Tensor want() const {
    std::vector<Tensor> parts;
    for (int64_t b : {0, 1}) {
      const int64_t n = b ? 4 : 1;
      parts.push_back(attention(query.narrow(0, b, n), sequence(key, b), sequence(value, b), 0.1, hidden(3, n, kv[b])));
    }
    return at::cat(parts);
  }
  Named given(bool by_head) const {
    const auto cache = [&](const Tensor& x) {
      return (by_head ? x.view({8, 16, 2, 128}).transpose(1, 2).contiguous() : x).to(kNpu);
    };
    return {{"query", query.to(kNpu)},       {"key", cache(key)}, {"value", cache(value)},
            {"block_table", table.to(kNpu)}, {"block_size", 16},  {"num_key_value_heads", 2},
            {"input_layout", "TND"},         {"sparse_mode", 3},  {"atten_mask", mask_of(3)}};
  }
  Named first(bool by_head = true) const {
    auto all = given(by_head);
    all.insert(
        all.end(),
        {{"num_heads", 4}, {"scale", 0.1}, {"actual_seq_lengths", Lengths{1, 5}}, {"actual_seq_lengths_kv", kv}});
    return all;
  }
  Named second(bool by_head = true) const {
    auto all = given(by_head);
    all.insert(
        all.end(),
        {{"num_query_heads", 4}, {"softmax_scale", 0.1}, {"actual_seq_qlen", Lengths{1, 5}}, {"actual_seq_kvlen", kv}});
    return all;
  }
};
TEST(FusedOperators, InferAttentionWithPages) {
  for (auto type : kHalves) {
    const Pages pages{.type = type};
    for (bool by_head : {false, true}) {
      expect_close(call(kInfer, pages.first(by_head))[0], pages.want(), "paged", 2e-2);
      expect_close(call("npu::npu_fused_infer_attention_score_v2", pages.second(by_head))[0], pages.want(), "paged v2",
                   2e-2);
    }
    // The forms for graphs: into given tensors, with a workspace asked for before. libnnopbase.so frees the question.
    for (bool second : {false, true}) {
      auto given = second ? pages.second() : pages.first();
      const auto out = at::zeros({5, 4, 128}, type).to(kNpu), lse = at::zeros({1}).to(kNpu);
      Tensor workspace;
      try {
        workspace = call(second ? "npu::_npu_fused_infer_attention_score_v2_get_max_workspace"
                                : "npu::_npu_fused_infer_attention_score_get_max_workspace",
                         given)[0];
      } catch (const c10::Error& e) {
        ASSERT_NE(std::string(e.what()).find("libnnopbase"), std::string::npos) << e.what();
        workspace = at::zeros({4096}, at::kByte).to(kNpu);
      }
      given.insert(given.end(), {{"workspace", workspace}});
      if (second) {
        given.insert(given.end(), {{"out", std::vector<Tensor>{out, lse}}});
        call("npu::npu_fused_infer_attention_score_v2", given, "out");
      } else {
        given.insert(given.end(), {{"out", std::vector<Tensor>{out, lse}}});
        call(kInfer, given, "out");
      }
      expect_close(out, pages.want(), "out", 2e-2);
    }
    auto sink = pages.second();
    sink.insert(sink.end(), {{"learnable_sink", at::zeros({4}, type).add(100).to(kNpu)}});  // takes all the weight
    expect_close(call("npu::npu_fused_infer_attention_score_v2", sink)[0], at::zeros({5, 4, 128}), "sink", 1e-3);
  }
}
TEST(FusedOperators, LatentAttention) {
  for (auto type : kHalves) {
    const auto q = random({3, 8, 512}, type), q_rope = random({3, 8, 64}, type), latent = random({6, 16, 512}, type),
               rope = random({6, 16, 64}, type), table = at::tensor({5, 2, 3, 0}, at::kInt).view({2, 2});
    const auto got = call(kInfer, {{"query", q.to(kNpu)},
                                   {"query_rope", q_rope.to(kNpu)},
                                   {"key", latent.to(kNpu)},
                                   {"value", latent.to(kNpu)},
                                   {"key_rope", rope.to(kNpu)},
                                   {"block_table", table.to(kNpu)},
                                   {"block_size", 16},
                                   {"num_heads", 8},
                                   {"num_key_value_heads", 1},
                                   {"scale", 0.05},
                                   {"input_layout", "TND_NTD"},
                                   {"sparse_mode", 3},
                                   {"atten_mask", mask_of(3)},
                                   {"actual_seq_lengths", Lengths{2, 3}},
                                   {"actual_seq_lengths_kv", Lengths{20, 17}}})[0];
    for (int64_t b : {0, 1}) {
      const int64_t n = 2 - b, n_kv = b ? 17 : 20;
      const auto rows = [&](const Tensor& x) {
        return x.index_select(0, table[b]).flatten(0, 1).unsqueeze(1).narrow(0, 0, n_kv);
      };
      const auto want = attention(at::cat({q, q_rope}, -1).narrow(0, 2 * b, n), at::cat({rows(latent), rows(rope)}, -1),
                                  rows(latent), 0.05, hidden(3, n, n_kv));
      expect_close(got.transpose(0, 1).narrow(0, 2 * b, n), want, "latent", 2e-2);
    }
  }
}
TEST(FusedOperators, OlderAttention) {
  const Pages pages{.type = at::kHalf};
  const auto q = random({2, 1, 512}, at::kHalf);
  const auto got = call("npu::npu_incre_flash_attention", {{"query", q.to(kNpu)},
                                                           {"key", pages.key.to(kNpu)},
                                                           {"value", pages.value.to(kNpu)},
                                                           {"block_table", pages.table.to(kNpu)},
                                                           {"block_size", 16},
                                                           {"num_heads", 4},
                                                           {"num_key_value_heads", 2},
                                                           {"scale_value", 0.1},
                                                           {"input_layout", "BSH"},
                                                           {"actual_seq_lengths", pages.kv}})[0];
  const auto x = random({2, 4, 5, 32}, at::kHalf);
  const auto prompt = call("npu::npu_prompt_flash_attention", {{"query", x.to(kNpu)},
                                                               {"key", x.to(kNpu)},
                                                               {"value", x.to(kNpu)},
                                                               {"num_heads", 4},
                                                               {"scale_value", 0.3},
                                                               {"input_layout", "BNSD"},
                                                               {"sparse_mode", 3},
                                                               {"atten_mask", mask_of(3)}})[0];
  for (int64_t b : {0, 1}) {
    expect_close(got[b].view({1, 4, 128}),
                 attention(q[b].view({1, 4, 128}), pages.sequence(pages.key, b), pages.sequence(pages.value, b), 0.1),
                 "incre", 2e-2);
    const auto t = x[b].transpose(0, 1);
    expect_close(prompt[b].transpose(0, 1), attention(t, t, t, 0.3, hidden(3, 5, 5)), "prompt", 2e-2);
  }
}

TEST(FusedOperators, Norms) {
  for (auto type : kFloats) {
    const auto x = random({3, 5, 64}, type), y = random({3, 5, 64}, type), gamma = random({64}, type);
    const auto want = [](const Tensor& x, const Tensor& gamma) {
      const auto f = x.to(at::kFloat);
      return f * (f.square().mean(-1, true) + 1e-3).rsqrt() * gamma.to(at::kFloat);
    };
    const double near = type == at::kFloat ? 1e-5 : 5e-2;
    expect_close(call("npu::npu_rms_norm", {{"input", x.to(kNpu)}, {"gamma", gamma.to(kNpu)}, {"epsilon", 1e-3}})[0],
                 want(x, gamma), "rms", near);
    expect_close(
        call("npu::npu_rms_norm",
             {{"input", x.to(kNpu).transpose(0, 1)}, {"gamma", gamma.to(at::kFloat).to(kNpu)}, {"epsilon", 1e-3}})[0],
        want(x, gamma).transpose(0, 1), "rms of a view", near);
    expect_close(
        call("npu::npu_gemma_rms_norm", {{"input", x.to(kNpu)}, {"gamma", gamma.to(kNpu)}, {"epsilon", 1e-3}})[0],
        want(x, gamma.to(at::kFloat) + 1), "gemma", near);
    const auto added = call("npu::npu_add_rms_norm",
                            {{"x1", x.to(kNpu)}, {"x2", y.to(kNpu)}, {"gamma", gamma.to(kNpu)}, {"epsilon", 1e-3}});
    expect_close(added[0], want(x.to(at::kFloat) + y.to(at::kFloat), gamma), "add_rms", near);
    expect_close(added[2], x + y, "sum", near);
    const auto half = x.to(at::kFloat).chunk(2, -1);
    expect_close(call("npu::npu_swiglu", {{"input", x.to(kNpu)}})[0], at::silu(half[0]) * half[1], "swiglu", near);
    expect_close(call("npu::npu_geglu", {{"input", x.to(kNpu)}})[0], at::gelu(half[1], "tanh") * half[0], "geglu",
                 near);
    expect_close(call("npu::npu_fast_gelu", {{"input", x.to(kNpu)}})[0],
                 x.to(at::kFloat) * (x.to(at::kFloat) * 1.702).sigmoid(), "fast_gelu", near);
  }
}

Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, bool pairs) {
  const auto f = x.to(at::kFloat);
  const auto a = pairs ? f.unflatten(-1, {-1, 2}).select(-1, 0) : f.chunk(2, -1)[0],
             b = pairs ? f.unflatten(-1, {-1, 2}).select(-1, 1) : f.chunk(2, -1)[1];
  const auto turned = pairs ? at::stack({b.neg(), a}, -1).flatten(-2) : at::cat({b.neg(), a}, -1);
  return f * cos.to(at::kFloat) + turned * sin.to(at::kFloat);
}
TEST(FusedOperators, RotaryEmbeddings) {
  for (auto type : kFloats) {
    for (const std::string mode : {"half", "interleave"}) {
      const auto q = random({2, 5, 4, 32}, type), k = random({2, 5, 2, 32}, type), cos = random({1, 5, 1, 32}, type),
                 sin = random({1, 5, 1, 32}, type);
      const bool pairs = mode == "interleave";
      const auto turn = [&](const Tensor& x) {
        return call("npu::npu_rotary_mul",
                    {{"input", x.to(kNpu)}, {"r1", cos.to(kNpu)}, {"r2", sin.to(kNpu)}, {"rotary_mode", mode}})[0];
      };
      expect_close(turn(q), rotated(q, cos, sin, pairs), "rotary", 5e-2);
      const auto wide = [](const Tensor& t) { return t.expand({2, 5, 1, 32}).contiguous().to(kNpu); };
      const auto both = call(
          "npu::npu_apply_rotary_pos_emb",
          {{"query", q.to(kNpu)}, {"key", k.to(kNpu)}, {"cos", wide(cos)}, {"sin", wide(sin)}, {"rotary_mode", mode}});
      expect_close(both[0], rotated(q, cos, sin, pairs), "apply, query", 5e-2);
      expect_close(both[1], rotated(k, cos, sin, pairs), "apply, key", 5e-2);
    }
  }
  const auto x = random({2, 3, 5, 64}, at::kHalf), cos = random({2, 1, 5, 64}, at::kHalf),
             sin = random({2, 1, 5, 64}, at::kHalf);
  const auto got =
      call("npu::npu_interleave_rope", {{"x", x.to(kNpu)}, {"cos", cos.to(kNpu)}, {"sin", sin.to(kNpu)}})[0];
  expect_close(got, rotated(x.unflatten(-1, {-1, 2}).transpose(-1, -2).flatten(-2), cos, sin, false), "interleave_rope",
               5e-2);
}

TEST(FusedOperators, PagedCache) {
  for (auto type : kFloats) {
    const auto key = random({4, 2, 32}, type), value = random({4, 2, 32}, type);
    const auto slots = at::tensor({8, -1, 15, 16}, at::kInt);
    const int64_t lane = 32 / int64_t(key.element_size());
    for (bool nz : {false, true}) {
      auto k = (nz ? random({6, 64 / lane, 4, lane}, type) : random({6, 4, 2, 32}, type)), v = k.mul(2);
      const auto dk = k.to(kNpu), dv = v.to(kNpu);
      call("npu::npu_scatter_pa_kv_cache", {{"key", key.to(kNpu)},
                                            {"value", value.to(kNpu)},
                                            {"key_cache", dk},
                                            {"value_cache", dv},
                                            {"slot_mapping", slots.to(kNpu)},
                                            {"cache_mode", nz ? "PA_NZ" : "Norm"}});
      for (int64_t i : {0, 2, 3}) {
        const auto slot = slots[i].item<int64_t>();
        const auto put = [&](const Tensor& cache, const Tensor& x) {
          if (nz)
            cache[slot / 4].select(1, slot % 4).copy_(x[i].reshape({-1, lane}));
          else
            cache[slot / 4][slot % 4].copy_(x[i]);
        };
        put(k, key), put(v, value);
      }
      expect_close(dk, k, "key cache", 0);
      expect_close(dv, v, "value cache", 0);
    }
    // A slot that is written twice holds nothing that may be read.
    const auto cache = at::zeros({6, 4, 2, 32}, type).to(kNpu);
    call("npu::npu_scatter_pa_kv_cache", {{"key", key.to(kNpu)},
                                          {"value", value.to(kNpu)},
                                          {"key_cache", cache},
                                          {"value_cache", cache.clone()},
                                          {"slot_mapping", at::tensor({3, 7, 3, 1}, at::kLong).to(kNpu)},
                                          {"cache_mode", "Norm"}});
    EXPECT_TRUE(cache.cpu()[0][3].isnan().all().item<bool>());
    EXPECT_TRUE(cache.cpu()[1][3].equal(key[1]));
    const auto rows = random({6, 4, 8}, type), updates = random({2, 4, 8}, type), target = rows.to(kNpu);
    call("npu::npu_scatter_nd_update_", {{"input", target},
                                         {"indices", at::tensor({3, 0}, at::kLong).view({2, 1}).to(kNpu)},
                                         {"updates", updates.to(kNpu)}});
    rows[3].copy_(updates[0]), rows[0].copy_(updates[1]);
    expect_close(target, rows, "scatter_nd", 0);
  }
}
}  // namespace
}  // namespace fake
