// The decoders of the Llama line: Llama, Mistral, Qwen 2 and 3, Phi-3, Gemma 2 and 3, and the mixtures of experts
// Mixtral and Qwen3-MoE (transformers' classes of those names). One file, since they differ in what their config says.
#include <cmath>

#include "models/decoder_config.h"
#include "models/language.h"
#include "nn/layers.h"

namespace cairn::models {
namespace {

using nn::Linear;
using nn::RmsNorm;
using nn::Weights;

// What the layers of a step share.
struct Step {
  const llm::Batch& batch;
  const llm::KvCache& cache;
  const ops::Paging& paging;
  Tensor rope, local_rope;
};

ops::Weight rows_of(const ops::Weight& w, int64_t first, int64_t count) {
  return {w.weight().narrow(0, first, count), w.bias().defined() ? w.bias().narrow(0, first, count) : Tensor()};
}

Tensor index_of(const std::vector<int64_t>& order) {
  Tensor t = empty({static_cast<int64_t>(order.size())}, Dtype::Long);
  std::copy(order.begin(), order.end(), static_cast<int64_t*>(t.mutable_data_ptr()));
  return t;
}

class Attention {
 public:
  Attention(const Weights& w, const DecoderConfig& c, int64_t layer)
      : out_(w / "o_proj", c.heads * c.head_width, c.hidden, c.out_bias),
        layer_(layer),
        head_width_(c.head_width),
        eps_(c.eps),
        window_(c.windows[static_cast<size_t>(layer)]) {
    const int64_t d = c.head_width, wide = c.heads * d, narrow = c.kv_heads * d;
    if (c.fused) {
      const ops::Weight all = (w / "qkv_proj").matrix(wide + 2 * narrow, c.hidden, c.qkv_bias);
      q_ = rows_of(all, 0, wide), k_ = rows_of(all, wide, narrow), v_ = rows_of(all, wide + narrow, narrow);
    } else {
      q_ = (w / "q_proj").matrix(wide, c.hidden, c.qkv_bias);
      k_ = (w / "k_proj").matrix(narrow, c.hidden, c.qkv_bias);
      v_ = (w / "v_proj").matrix(narrow, c.hidden, c.qkv_bias);
    }
    local_ = c.has_local && window_ > 0;
    const double partial = (local_ ? c.local_rope : c.rope).partial;
    const auto rotary = static_cast<int64_t>(static_cast<double>(d) * partial) / 2 * 2;
    q_ = reordered(q_, nn::interleaved(c.heads, d, rotary));
    k_ = reordered(k_, nn::interleaved(c.kv_heads, d, rotary));
    nn::adjoin({&q_, &k_, &v_});
    if (c.head_norm) {
      const Tensor order = index_of(nn::interleaved(1, d, rotary)).to(w.device());
      q_norm_ = RmsNorm(w / "q_norm", d, c.eps, c.gemma).weight().index_select(0, order);
      k_norm_ = RmsNorm(w / "k_norm", d, c.eps, c.gemma).weight().index_select(0, order);
    }
    rule_ = {.scale = c.scale, .softcap = c.softcap, .window = window_};
  }

  // The heads' results side by side, (1, T, H d), before the projection out_.
  Tensor operator()(const Tensor& x, const Step& s) const {
    const auto a = ops::qkv({{x, q_, k_, v_, q_norm_, k_norm_}}, local_ ? s.local_rope : s.rope, head_width_, eps_);
    const Tensor &keys = s.cache.keys(layer_), &values = s.cache.values(layer_);
    ops::write_kv(a.k.select(0, 0), a.v.select(0, 0), keys, values, s.batch.slots);
    return ops::paged_attention(a.q.select(0, 0), keys, values, s.paging, rule_).unsqueeze(0);
  }
  const Linear& out() const { return out_; }

 private:
  static ops::Weight reordered(const ops::Weight& w, const std::vector<int64_t>& order) {
    const Tensor index = index_of(order).to(w.weight().device());
    return {w.weight().index_select(0, index), w.bias().defined() ? w.bias().index_select(0, index) : Tensor()};
  }

  ops::Weight q_, k_, v_;
  Tensor q_norm_, k_norm_;
  Linear out_;
  ops::AttentionRule rule_;
  int64_t layer_, head_width_;
  double eps_;
  int64_t window_;
  bool local_ = false;
};

class Mlp {
 public:
  Mlp(const Weights& w, const DecoderConfig& c) : down_(w / "down_proj", c.mlp, c.hidden, c.mlp_bias), act_(c.act) {
    if (c.fused) {
      const ops::Weight both = (w / "gate_up_proj").matrix(2 * c.mlp, c.hidden, false);
      gate_ = rows_of(both, 0, c.mlp), up_ = rows_of(both, c.mlp, c.mlp);
    } else {
      gate_ = (w / "gate_proj").matrix(c.mlp, c.hidden, c.mlp_bias);
      up_ = (w / "up_proj").matrix(c.mlp, c.hidden, c.mlp_bias);
      nn::adjoin({&gate_, &up_});
    }
  }

  Tensor inner(const Tensor& x) const { return ops::linear_glu(x, gate_, up_, act_); }
  const Linear& down() const { return down_; }

 private:
  ops::Weight gate_, up_;
  Linear down_;
  ops::Activation act_;
};

// Experts of which a router picks a few for each token, by the largest probabilities.
class Mixture {
 public:
  Mixture(const Weights& w, const DecoderConfig& c)
      : router_(w / "gate", c.hidden, c.experts, false),
        rule_{.each = c.experts_each, .normalise = c.normalise},
        act_(c.act) {
    experts_ = nn::experts(c.experts, [&](int64_t i) {
      const Weights e = w / "experts" / i;
      return ops::Expert{(e / (c.mixtral ? "w1" : "gate_proj")).matrix(c.expert_mlp, c.hidden, false),
                         (e / (c.mixtral ? "w3" : "up_proj")).matrix(c.expert_mlp, c.hidden, false),
                         (e / (c.mixtral ? "w2" : "down_proj")).matrix(c.hidden, c.expert_mlp, false)};
    });
  }

  // residual + the experts' sum for x, in the dtype of the residual.
  Tensor add_to(const Tensor& residual, const Tensor& x) const {
    const Tensor rows = x.select(0, 0);
    const ops::Routed to = ops::route(router_.as(kF32, rows), {}, rule_);
    const Tensor y = ops::experts(rows, to.chosen, to.weights, experts_, act_);
    return residual + y.to(residual.scalar_type()).unsqueeze(0);
  }

 private:
  Linear router_;
  std::vector<ops::Expert> experts_;
  ops::RouteRule rule_;
  ops::Activation act_;
};

class Layer {
 public:
  Layer(const Weights& w, const DecoderConfig& c, int64_t layer)
      : attention_(w / "self_attn", c, layer),
        before_attention_(w / "input_layernorm", c.hidden, c.eps, c.gemma),
        before_mlp_(w / (c.gemma ? "pre_feedforward_layernorm" : "post_attention_layernorm"), c.hidden, c.eps,
                    c.gemma) {
    if (c.sparse[static_cast<size_t>(layer)])
      mixture_.emplace_back(w / (c.mixtral ? "block_sparse_moe" : "mlp"), c);
    else
      mlp_.emplace_back(w / "mlp", c);
    if (c.gemma) {
      behind_.emplace_back(w / "post_attention_layernorm", c.hidden, c.eps, 1);
      behind_.emplace_back(w / "post_feedforward_layernorm", c.hidden, c.eps, 1);
    }
  }

  Tensor operator()(const Tensor& x, const Step& s) const {
    const Tensor a = attention_(before_attention_(x), s);
    if (!behind_.empty()) {
      const Tensor h = x + behind_[0].as(kF32, attention_.out().as(kF32, a));
      return h + behind_[1].as(kF32, mlp_[0].down().as(kF32, mlp_[0].inner(before_mlp_(h))));
    }
    const Tensor h = attention_.out().add_to(x, a);
    if (!mixture_.empty()) return mixture_[0].add_to(h, before_mlp_(h));
    return mlp_[0].down().add_to(h, mlp_[0].inner(before_mlp_(h)));
  }

 private:
  Attention attention_;
  RmsNorm before_attention_, before_mlp_;
  std::vector<RmsNorm> behind_;   // Gemma: behind attention, behind the MLP
  std::vector<Mlp> mlp_;          // one of
  std::vector<Mixture> mixture_;  // these two
};

class Decoder final : public llm::CausalLm {
 public:
  Decoder(const Weights& w, const DecoderConfig& c)
      : config_(c),
        embed_(w / "model" / "embed_tokens", c.vocab, c.hidden),
        norm_(w / "model" / "norm", c.hidden, c.eps, c.gemma),
        head_(c.tied ? (w / "model" / "embed_tokens").matrix(c.vocab, c.hidden, false)
                     : (w / "lm_head").matrix(c.vocab, c.hidden, false)),
        rope_(c.rope, c.head_width, c.positions),
        local_rope_(c.local_rope, c.head_width, c.positions),
        dtype_(w.dtype()),
        device_(w.device()) {
    for (int64_t i = 0; i < c.layers; ++i) layers_.emplace_back(w / "model" / "layers" / i, c, i);
    // As transformers has it, in the dtype of the table.
    if (c.gemma) {
      Tensor t = empty({1}, kF32);
      embed_scale_ = t.fill_(std::sqrt(static_cast<double>(c.hidden))).to(dtype_).item<double>();
    }
  }

  Tensor forward(const llm::Batch& batch, const llm::KvCache& cache) const override {
    Tensor x = embed_(batch.tokens).unsqueeze(0);
    if (embed_scale_ != 1) x = x * embed_scale_;
    const auto tables = batch.rotary.empty() ? rotary(batch) : batch.rotary;
    const ops::Paging paging = batch.paging();
    const auto table = [&](size_t i) { return ops::rope_table(tables[i].to(device_), dtype_); };
    const Step s{batch, cache, paging, table(0), config_.has_local ? table(1) : Tensor()};
    for (const Layer& layer : layers_) x = layer(x, s);
    return norm_(x).select(0, 0);
  }

  std::vector<Tensor> rotary(const llm::Batch& batch) const override {
    std::vector<Tensor> out{rope_.table(batch.positions, batch.stretched)};
    if (config_.has_local) out.push_back(local_rope_.table(batch.positions));
    return out;
  }

  Tensor logits(const Tensor& hidden) const override {
    const Tensor y = head_.as(kF32, hidden);
    return config_.final_softcap > 0 ? (y * (1 / config_.final_softcap)).tanh() * config_.final_softcap : y;
  }

  llm::KvShape kv_shape() const override {
    return {config_.layers, config_.kv_heads, config_.head_width, config_.head_width};
  }
  int64_t vocabulary() const override { return config_.vocab; }
  int64_t max_positions() const override { return config_.positions; }
  Dtype dtype() const override { return dtype_; }
  c10::Device device() const override { return device_; }
  int64_t switch_length() const override { return rope_.switches() ? rope_.switch_length() : 0; }

 private:
  DecoderConfig config_;
  nn::Embedding embed_;
  std::vector<Layer> layers_;
  RmsNorm norm_;
  Linear head_;
  nn::Rope rope_, local_rope_;
  Dtype dtype_;
  c10::Device device_;
  double embed_scale_ = 1;
};

}  // namespace

std::unique_ptr<llm::CausalLm> make_decoder(const Weights& w, const Json& config) {
  return std::make_unique<Decoder>(w, or_throw(DecoderConfig::read(config)));
}

}  // namespace cairn::models
