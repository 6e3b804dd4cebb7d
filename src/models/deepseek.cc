// DeepSeek V2 and V3/R1 (transformers DeepseekV2ForCausalLM, DeepseekV3ForCausalLM): multi-head latent attention, whose
// cache holds one compressed row a token, and experts chosen within groups, with experts shared by all tokens beside
// them.
#include <cmath>

#include "base/fields.h"
#include "models/decoder_config.h"
#include "models/language.h"
#include "nn/layers.h"

namespace cairn::models {
namespace {

using nn::Linear;
using nn::RmsNorm;
using nn::Weights;

constexpr double kInnerEps = 1e-6;  // of the norms inside attention, whatever the config says

struct DeepseekConfig {
  std::string model_type, hidden_act = "silu";
  int64_t vocab_size = 0, hidden_size = 0, num_hidden_layers = 0, num_attention_heads = 0, intermediate_size = 0;
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0, moe_intermediate_size = 0;
  std::optional<int64_t> q_lora_rank, n_group, topk_group, n_routed_experts, n_shared_experts, num_experts_per_tok;
  int64_t first_k_dense_replace = 0, moe_layer_freq = 1, max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6, routed_scaling_factor = 1;
  bool attention_bias = false, norm_topk_prob = false, rope_interleave = true, tie_word_embeddings = false;
  std::optional<std::string> topk_method, scoring_func;

  void fields(auto& f) {
    const auto size = [] { return required().between(1, 1 << 24); };
    f("model_type", model_type, "", required())("hidden_act", hidden_act, "")("vocab_size", vocab_size, "", size());
    f("hidden_size", hidden_size, "", size())("num_hidden_layers", num_hidden_layers, "", required().between(1, 4096));
    f("num_attention_heads", num_attention_heads, "", required().between(1, 65536));
    f("intermediate_size", intermediate_size, "", size())("kv_lora_rank", kv_lora_rank, "", size());
    f("qk_nope_head_dim", qk_nope_head_dim, "", size())("qk_rope_head_dim", qk_rope_head_dim, "", size());
    f("v_head_dim", v_head_dim, "", size())("moe_intermediate_size", moe_intermediate_size, "", between(0, 1 << 24));
    f("q_lora_rank", q_lora_rank, "", between(1, 1 << 20))("n_group", n_group, "", between(1, 65536));
    f("topk_group", topk_group, "", between(1, 65536))("n_routed_experts", n_routed_experts, "", between(1, 65536));
    f("n_shared_experts", n_shared_experts, "", between(0, 1024));
    f("num_experts_per_tok", num_experts_per_tok, "", between(1, 1024));
    f("first_k_dense_replace", first_k_dense_replace, "", at_least(0))("moe_layer_freq", moe_layer_freq, "",
                                                                       at_least(1));
    f("max_position_embeddings", max_position_embeddings, "", between(1, 1e9));
    f("rms_norm_eps", rms_norm_eps, "", between(0, 1))("routed_scaling_factor", routed_scaling_factor, "");
    f("attention_bias", attention_bias, "")("norm_topk_prob", norm_topk_prob, "")("rope_interleave", rope_interleave,
                                                                                  "");
    f("tie_word_embeddings", tie_word_embeddings, "")("topk_method", topk_method, "")("scoring_func", scoring_func, "");
  }

  bool v3() const { return model_type == "deepseek_v3"; }
  int64_t key_width() const { return qk_nope_head_dim + qk_rope_head_dim; }
  int64_t latent() const { return kv_lora_rank + qk_rope_head_dim; }
  ops::RouteRule route() const {
    ops::RouteRule rule{.each = num_experts_per_tok.value_or(1), .pairs = v3(), .scaling = routed_scaling_factor};
    if (v3() || topk_method.value_or("greedy") == "group_limited_greedy")
      rule.groups = n_group.value_or(1), rule.kept = topk_group.value_or(1);
    rule.sigmoid = scoring_func ? *scoring_func == "sigmoid" : v3();
    rule.normalise = v3() && norm_topk_prob;
    return rule;
  }
};

struct Step {
  const llm::Batch& batch;
  const llm::KvCache& cache;
  const ops::Paging& paging;
  Tensor cos, sin;  // (T, 1, rope width)
};

// Turns adjacent pairs of x (T, H, rope width).
Tensor turned(const Tensor& x, const Step& s) {
  const Tensor wide = x.to(kF32), swapped = wide.unflatten(-1, {-1, 2}).flip(-1).flatten(-2);
  return (wide * s.cos + swapped * s.sin).to(x.scalar_type());
}
Tensor joined(const Tensor& a, const Tensor& b) {
  Tensor y = empty({a.size(0), a.size(1), a.size(2) + b.size(2)}, a.scalar_type(), a.device());
  y.narrow(2, 0, a.size(2)).copy_(a);
  y.narrow(2, a.size(2), b.size(2)).copy_(b);
  return y;
}

Tensor longs(const std::vector<int64_t>& numbers) {
  Tensor t = empty({static_cast<int64_t>(numbers.size())}, Dtype::Long);
  std::copy(numbers.begin(), numbers.end(), static_cast<int64_t*>(t.mutable_data_ptr()));
  return t;
}

// Rows whose last `rotary` columns of each head are two halves, in the order in which these are pairs.
ops::Weight paired(const ops::Weight& w, int64_t heads, int64_t width, int64_t rotary) {
  std::vector<int64_t> order;
  const auto within = nn::interleaved(1, rotary, rotary);
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < width; ++i) {
      const int64_t first = width - rotary;
      order.push_back(h * width + (i < first ? i : first + within[static_cast<size_t>(i - first)]));
    }
  const Tensor index = longs(order).to(w.weight().device());
  return {w.weight().index_select(0, index), w.bias().defined() ? w.bias().index_select(0, index) : Tensor()};
}

// What the attentions of a model share. apart: the cache holds latents and their rope parts in two tensors, as keys and
// values; else they lie side by side in one.
struct Latents {
  double scale;
  Mla mla;
  bool apart;
};

class LatentAttention {
 public:
  LatentAttention(const Weights& w, const DeepseekConfig& c, const Latents& shared, int64_t layer)
      : c_(c),
        kv_norm_(w / "kv_a_layernorm", c.kv_lora_rank, kInnerEps),
        kv_b_((w / "kv_b_proj")
                  .matrix(c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank, false)),
        out_(w / "o_proj", c.num_attention_heads * c.v_head_dim, c.hidden_size, c.attention_bias),
        mla_(shared.mla),
        apart_(shared.apart),
        layer_(layer) {
    const int64_t wide = c.num_attention_heads * c.key_width();
    if (c.q_lora_rank) {
      q_down_.emplace_back(w / "q_a_proj", c.hidden_size, *c.q_lora_rank, c.attention_bias);
      q_norm_.emplace_back(w / "q_a_layernorm", *c.q_lora_rank, kInnerEps);
    }
    ops::Weight q = c.q_lora_rank ? (w / "q_b_proj").matrix(wide, *c.q_lora_rank, false)
                                  : (w / "q_proj").matrix(wide, c.hidden_size, false);
    ops::Weight kv = (w / "kv_a_proj_with_mqa").matrix(c.latent(), c.hidden_size, c.attention_bias);
    if (!c.rope_interleave) {
      q = paired(q, c.num_attention_heads, c.key_width(), c.qk_rope_head_dim);
      kv = paired(kv, 1, c.latent(), c.qk_rope_head_dim);
    }
    q_.emplace_back(std::move(q));
    kv_a_.emplace_back(std::move(kv));
    rule_.scale = shared.scale;
    const Tensor b = kv_b_.weight().weight().view({c.num_attention_heads, -1, c.kv_lora_rank});
    up_keys_ = b.narrow(1, 0, c.qk_nope_head_dim);                               // (H, nope, latent)
    up_values_ = b.narrow(1, c.qk_nope_head_dim, c.v_head_dim).transpose(1, 2);  // (H, latent, v)
  }

  Tensor operator()(const Tensor& residual, const Tensor& x, const Step& s) const {
    const Tensor q = (q_down_.empty() ? q_[0](x) : q_[0](q_norm_[0](q_down_[0](x))))
                         .select(0, 0)
                         .unflatten(-1, {c_.num_attention_heads, c_.key_width()});
    const Tensor q_nope = q.narrow(2, 0, c_.qk_nope_head_dim),
                 q_rope = turned(q.narrow(2, c_.qk_nope_head_dim, c_.qk_rope_head_dim), s);
    const Tensor kv = kv_a_[0](x).select(0, 0);
    const Tensor latent = kv_norm_(kv.narrow(1, 0, c_.kv_lora_rank)).unsqueeze(1),
                 k_rope = turned(kv.narrow(1, c_.kv_lora_rank, c_.qk_rope_head_dim).unsqueeze(1), s);
    const Tensor &keys = s.cache.keys(layer_), &values = s.cache.values(layer_);
    if (apart_)
      ops::write_kv(latent, k_rope, keys, values, s.batch.slots);
    else
      keys.flatten(0, 1).index_copy_(0, s.batch.slots, joined(latent, k_rope));
    const Cache cache =
        apart_ ? Cache{{}, keys, values}
               : Cache{keys, keys.narrow(3, 0, c_.kv_lora_rank), keys.narrow(3, c_.kv_lora_rank, c_.qk_rope_head_dim)};
    std::vector<int64_t> few;
    const auto& all = s.paging.sequences;
    for (size_t i = 0; i < all.size(); ++i)
      if (mla_ == Mla::kAbsorbed || (mla_ == Mla::kAuto && all[i].rows <= kFewRows))
        few.push_back(static_cast<int64_t>(i));
    if (few.size() == all.size()) return out_.add_to(residual, absorbed(q_nope, q_rope, cache, s.paging).unsqueeze(0));
    Tensor y = empty({x.size(1), c_.num_attention_heads * c_.v_head_dim}, x.scalar_type(), x.device());
    std::vector<ops::PagedSequence> list;
    for (size_t i = 0, next = 0; i < all.size(); ++i) {
      if (next < few.size() && few[next] == static_cast<int64_t>(i))
        list.push_back(all[i]), ++next;
      else
        plain(q_nope, q_rope, cache, all[i], y);
    }
    if (!few.empty()) {
      const Tensor part = absorbed(q_nope, q_rope, cache, part_of(s.paging, list, few));
      for (const auto& seq : list) y.narrow(0, seq.row, seq.rows).copy_(part.narrow(0, seq.row, seq.rows));
    }
    return out_.add_to(residual, y.unsqueeze(0));
  }

 private:
  // Up to here a sequence's rows cost less against latents, which are wider than keys but need no expansion.
  static constexpr int64_t kFewRows = 32;

  // (blocks, block size, 1, width) each; `both` is undefined where they are kept apart.
  struct Cache {
    Tensor both, latents, ropes;
  };

  ops::Paging part_of(const ops::Paging& all, at::ArrayRef<ops::PagedSequence> list,
                      const std::vector<int64_t>& which) const {
    if (!apart_ || !all.tables.defined()) return list;
    return {list, all.tables.index_select(0, longs(which).to(all.tables.device())), {}, {}};
  }

  // The expansion moved to the queries and to the result: (q U) l = q (U l). (T, H v); rows of no sequence are
  // undefined.
  Tensor absorbed(const Tensor& q_nope, const Tensor& q_rope, const Cache& cache, const ops::Paging& paging) const {
    const Tensor wide = q_nope.transpose(0, 1).matmul(up_keys_).transpose(0, 1);  // (T, H, latent)
    const Tensor z = apart_ ? ops::split_latent_attention(wide, q_rope, cache.latents, cache.ropes, paging, rule_)
                            : ops::latent_attention(joined(wide, q_rope), cache.both, cache.latents, paging, rule_);
    const Tensor values = z.unflatten(1, {c_.num_attention_heads, -1}).transpose(0, 1).matmul(up_values_);
    return values.transpose(0, 1).flatten(1);
  }

  // Keys and values of all heads, expanded from the latents of one sequence.
  void plain(const Tensor& q_nope, const Tensor& q_rope, const Cache& cache, const ops::PagedSequence& s,
             const Tensor& y) const {
    const int64_t size = cache.latents.size(1), blocks = (s.keys + size - 1) / size, heads = c_.num_attention_heads;
    const Tensor ids = longs({s.blocks, s.blocks + blocks}).to(y.device());
    const auto gathered = [&](const Tensor& rows) {
      return rows.index_select(0, ids).flatten(0, 1).narrow(0, 0, s.keys);
    };
    const Tensor expanded = kv_b_(gathered(cache.latents).select(1, 0).contiguous()).unflatten(-1, {heads, -1});
    const Tensor keys =
        joined(expanded.narrow(2, 0, c_.qk_nope_head_dim), gathered(cache.ropes).expand({-1, heads, -1}));
    const Tensor values = expanded.narrow(2, c_.qk_nope_head_dim, c_.v_head_dim).contiguous();
    const Tensor q = joined(q_nope.narrow(0, s.row, s.rows), q_rope.narrow(0, s.row, s.rows));
    const int32_t only = 0;
    y.narrow(0, s.row, s.rows)
        .copy_(ops::latent_attention(q, keys.unsqueeze(0), values.unsqueeze(0),
                                     ops::PagedSequence{.row = 0, .rows = s.rows, .keys = s.keys, .blocks = &only},
                                     rule_));
  }

  DeepseekConfig c_;
  std::vector<Linear> q_down_;   // with q_lora_rank: down, norm,
  std::vector<RmsNorm> q_norm_;  // and up
  std::vector<Linear> q_, kv_a_;
  RmsNorm kv_norm_;
  Linear kv_b_, out_;
  Tensor up_keys_, up_values_;
  ops::AttentionRule rule_;
  Mla mla_;
  bool apart_;
  int64_t layer_;
};

ops::Expert gated(const Weights& w, const DeepseekConfig& c, int64_t width) {
  return {(w / "gate_proj").matrix(width, c.hidden_size, false), (w / "up_proj").matrix(width, c.hidden_size, false),
          (w / "down_proj").matrix(c.hidden_size, width, false)};
}

class Mlp {
 public:
  Mlp(const Weights& w, const DeepseekConfig& c, int64_t width)
      : gate_(gated(w, c, width)), down_(gate_.down), act_(or_throw(parse_activation(c.hidden_act))) {
    nn::adjoin({&gate_.gate, &gate_.up});
  }
  Tensor add_to(const Tensor& residual, const Tensor& x) const {
    return down_.add_to(residual, ops::linear_glu(x, gate_.gate, gate_.up, act_));
  }

 private:
  ops::Expert gate_;
  Linear down_;
  ops::Activation act_;
};

// Routed experts of the best groups, and shared ones.
class Mixture {
 public:
  Mixture(const Weights& w, const DeepseekConfig& c)
      : router_(ops::Weight((w / "gate").read("weight", {*c.n_routed_experts, c.hidden_size}, kF32), {})),
        rule_(c.route()) {
    if (c.v3()) correction_ = (w / "gate").read("e_score_correction_bias", {*c.n_routed_experts}, kF32);
    experts_ = nn::experts(*c.n_routed_experts,
                           [&](int64_t i) { return gated(w / "experts" / i, c, c.moe_intermediate_size); });
    if (c.n_shared_experts.value_or(0) > 0)
      shared_.emplace_back(w / "shared_experts", c, c.moe_intermediate_size * *c.n_shared_experts);
    act_ = or_throw(parse_activation(c.hidden_act));
  }

  Tensor add_to(const Tensor& residual, const Tensor& x) const {
    const Tensor rows = x.select(0, 0);
    const ops::Routed to = ops::route(router_.as(kF32, rows), correction_, rule_);
    const Tensor y = ops::experts(rows, to.chosen, to.weights, experts_, act_);
    const Tensor sum = residual + y.to(residual.scalar_type()).unsqueeze(0);
    return shared_.empty() ? sum : shared_[0].add_to(sum, x);
  }

 private:
  Linear router_;
  Tensor correction_;
  ops::RouteRule rule_;
  std::vector<ops::Expert> experts_;
  std::vector<Mlp> shared_;
  ops::Activation act_;
};

class Layer {
 public:
  Layer(const Weights& w, const DeepseekConfig& c, const Latents& shared, int64_t layer)
      : attention_(w / "self_attn", c, shared, layer),
        before_attention_(w / "input_layernorm", c.hidden_size, c.rms_norm_eps),
        before_mlp_(w / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps) {
    if (c.n_routed_experts && layer >= c.first_k_dense_replace && layer % c.moe_layer_freq == 0)
      mixture_.emplace_back(w / "mlp", c);
    else
      mlp_.emplace_back(w / "mlp", c, c.intermediate_size);
  }
  Tensor operator()(const Tensor& x, const Step& s) const {
    const Tensor h = attention_(x, before_attention_(x), s), y = before_mlp_(h);
    return mixture_.empty() ? mlp_[0].add_to(h, y) : mixture_[0].add_to(h, y);
  }

 private:
  LatentAttention attention_;
  RmsNorm before_attention_, before_mlp_;
  std::vector<Mlp> mlp_;          // one of
  std::vector<Mixture> mixture_;  // these two
};

class Deepseek final : public llm::CausalLm {
 public:
  Deepseek(const Weights& w, const DeepseekConfig& c, const nn::RopeConfig& rope, Mla mla)
      : c_(c),
        embed_(w / "model" / "embed_tokens", c.vocab_size, c.hidden_size),
        norm_(w / "model" / "norm", c.hidden_size, c.rms_norm_eps),
        head_((w / (c.tie_word_embeddings ? "model.embed_tokens" : "lm_head"))
                  .matrix(c.vocab_size, c.hidden_size, false)),
        rope_(rope, c.qk_rope_head_dim, c.max_position_embeddings),
        dtype_(w.dtype()),
        device_(w.device()),
        apart_(ops::split_latent_attention.has_kernel(w.device().type())) {
    const Latents shared{rope_.scale() / std::sqrt(static_cast<double>(c.key_width())), mla, apart_};
    for (int64_t i = 0; i < c.num_hidden_layers; ++i) layers_.emplace_back(w / "model" / "layers" / i, c, shared, i);
  }

  Tensor forward(const llm::Batch& batch, const llm::KvCache& cache) const override {
    const Tensor table = (batch.rotary.empty() ? rotary(batch) : batch.rotary)[0].to(device_).unsqueeze(2);
    const ops::Paging paging = batch.paging();
    const Step s{batch, cache, paging, table.select(0, 0), table.select(0, 1)};
    Tensor x = embed_(batch.tokens).unsqueeze(0);
    for (const Layer& layer : layers_) x = layer(x, s);
    return norm_(x).select(0, 0);
  }
  std::vector<Tensor> rotary(const llm::Batch& batch) const override {
    return {rope_.table(batch.positions, batch.stretched)};
  }
  Tensor logits(const Tensor& hidden) const override { return head_.as(kF32, hidden); }

  llm::KvShape kv_shape() const override {
    if (apart_) return {c_.num_hidden_layers, 1, c_.kv_lora_rank, c_.qk_rope_head_dim};
    return {c_.num_hidden_layers, 1, c_.latent(), 0};
  }
  int64_t vocabulary() const override { return c_.vocab_size; }
  int64_t max_positions() const override { return c_.max_position_embeddings; }
  Dtype dtype() const override { return dtype_; }
  c10::Device device() const override { return device_; }

 private:
  DeepseekConfig c_;
  nn::Embedding embed_;
  std::vector<Layer> layers_;
  RmsNorm norm_;
  Linear head_;
  nn::Rope rope_;
  Dtype dtype_;
  c10::Device device_;
  bool apart_;  // the device has a kernel that wants latents so
};

}  // namespace

std::unique_ptr<llm::CausalLm> make_deepseek(const Weights& w, const Json& config, Mla mla) {
  const auto c = or_throw(read<DeepseekConfig>(config, "config", Unknown::kIgnore));
  if (c.n_routed_experts && (!c.num_experts_per_tok || *c.num_experts_per_tok > *c.n_routed_experts ||
                             *c.n_routed_experts % c.n_group.value_or(1) != 0 || c.moe_intermediate_size < 1 ||
                             c.topk_group.value_or(1) > c.n_group.value_or(1)))
    throw Failure(Error{Code::kInvalidArgument,
                        "config: num_experts_per_tok, n_group, topk_group and "
                        "moe_intermediate_size do not fit n_routed_experts"});
  return std::make_unique<Deepseek>(w, c, or_throw(nn::RopeConfig::read(config)), mla);
}

}  // namespace cairn::models
