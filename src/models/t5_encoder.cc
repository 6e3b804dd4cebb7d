// T5's encoder (transformers T5EncoderModel, v1.1 with gated MLP): relative position biases, no scaling, no biases.
// Raffel et al. 2020, Exploring the Limits of Transfer Learning.
#include <cmath>

#include "models/components.h"
#include "nn/layers.h"

namespace cairn::models {
namespace {

using nn::Weights;

struct T5Config {
  int64_t vocab_size = 0, d_model = 0, d_kv = 0, d_ff = 0, num_layers = 0, num_heads = 0;
  int64_t relative_attention_num_buckets = 32, relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;
  std::string feed_forward_proj = "gated-gelu";

  void fields(auto& f) {
    f("vocab_size", vocab_size, "tokens", required().between(1, 1e7))("d_model", d_model, "width",
                                                                      required().between(1, 65536));
    f("d_kv", d_kv, "head width", required().between(1, 4096))("d_ff", d_ff, "width of the MLP",
                                                               required().between(1, 1 << 20));
    f("num_layers", num_layers, "layers", required().between(1, 1000))("num_heads", num_heads, "heads",
                                                                       required().between(1, 1024));
    f("relative_attention_num_buckets", relative_attention_num_buckets, "", between(4, 4096));
    f("relative_attention_max_distance", relative_attention_max_distance, "", between(2, 1e6));
    f("layer_norm_epsilon", layer_norm_epsilon, "", between(0, 1));
    f("feed_forward_proj", feed_forward_proj, "kind of MLP", one_of({"gated-gelu", "gated-silu"}));
  }
};

class Layer {
 public:
  Layer(const Weights& w, const T5Config& c) : Layer(w / "layer" / 0, w / "layer" / 1, c, c.num_heads * c.d_kv) {}

  Tensor operator()(const Tensor& x, const Tensor& bias) const {
    const auto a = ops::qkv({{attention_norm_(x), q_.weight(), k_.weight(), v_.weight(), {}, {}}}, {}, head_dim_, 0);
    const Tensor h = out_.add_to(x, ops::attention(a.q, a.k, a.v, bias, false, 1.0));
    return down_.add_to(h, ops::linear_glu(mlp_norm_(h), gate_.weight(), up_.weight(), act_));
  }

 private:
  Layer(const Weights& attention, const Weights& mlp, const T5Config& c, int64_t inner)
      : attention_norm_(attention / "layer_norm", c.d_model, c.layer_norm_epsilon),
        mlp_norm_(mlp / "layer_norm", c.d_model, c.layer_norm_epsilon),
        q_(attention / "SelfAttention" / "q", c.d_model, inner),
        k_(attention / "SelfAttention" / "k", c.d_model, inner),
        v_(attention / "SelfAttention" / "v", c.d_model, inner),
        out_(attention / "SelfAttention" / "o", inner, c.d_model),
        gate_(mlp / "DenseReluDense" / "wi_0", c.d_model, c.d_ff),
        up_(mlp / "DenseReluDense" / "wi_1", c.d_model, c.d_ff),
        down_(mlp / "DenseReluDense" / "wo", c.d_ff, c.d_model),
        act_(c.feed_forward_proj == "gated-silu" ? nn::Activation::kSilu : nn::Activation::kGeluTanh),
        head_dim_(c.d_kv) {}

  nn::RmsNorm attention_norm_, mlp_norm_;
  nn::Linear q_, k_, v_, out_, gate_, up_, down_;
  nn::Activation act_;
  int64_t head_dim_;
};

// The bucket of a distance: half of them exact near zero, the rest growing logarithmically; one half for each side.
int64_t bucket(int64_t distance, const T5Config& c) {
  const int64_t half = c.relative_attention_num_buckets / 2, exact = half / 2, side = distance > 0 ? half : 0;
  const int64_t d = std::abs(distance);
  if (d < exact) return side + d;
  const float grown = std::log(static_cast<float>(d) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(c.relative_attention_max_distance) /
                                                  static_cast<double>(exact))) *
                      static_cast<float>(half - exact);
  return side + std::min(half - 1, exact + static_cast<int64_t>(grown));
}

class T5Encoder final : public diffusion::TextEncoder {
 public:
  T5Encoder(const Weights& w, const T5Config& c)
      : config_(c),
        tokens_(w.has("shared.weight") ? w / "shared" : w / "encoder" / "embed_tokens", c.vocab_size, c.d_model),
        distances_((w / "encoder" / "block" / 0 / "layer" / 0 / "SelfAttention" / "relative_attention_bias")
                       .read("weight", {c.relative_attention_num_buckets, c.num_heads}, kF32)),
        layers_(nn::stack<Layer>(w / "encoder" / "block", c.num_layers, c)),
        norm_(w / "encoder" / "final_layer_norm", c.d_model, c.layer_norm_epsilon) {}

  diffusion::Encoded encode(const Tensor& ids) const override {
    const Tensor bias = position_bias(ids.size(1));
    Tensor x = tokens_(ids);
    for (const Layer& layer : layers_) x = layer(x, bias);
    return {norm_(x), {}};
  }
  int64_t width() const override { return config_.d_model; }

 private:
  // (1, heads, T, T): a learned number for each head and distance.
  Tensor position_bias(int64_t length) const {
    Tensor buckets = empty({length * length}, Dtype::Long);
    auto* p = static_cast<int64_t*>(buckets.data_ptr());
    for (int64_t i = 0; i < length; ++i)
      for (int64_t j = 0; j < length; ++j) *p++ = bucket(j - i, config_);
    return distances_.index_select(0, buckets.to(distances_.device()))
        .view({length, length, -1})
        .permute({2, 0, 1})
        .unsqueeze(0)
        .contiguous();
  }

  T5Config config_;
  nn::Embedding tokens_;
  Tensor distances_;
  std::vector<Layer> layers_;
  nn::RmsNorm norm_;
};

}  // namespace

std::unique_ptr<diffusion::TextEncoder> make_t5_encoder(const Weights& w, const Json& config) {
  return std::make_unique<T5Encoder>(w, or_throw(read<T5Config>(config, "T5 config", Unknown::kIgnore)));
}

}  // namespace cairn::models
