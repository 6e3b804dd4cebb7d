// CLIP's text model (transformers CLIPTextModel): a causal transformer whose state at the end token is the text's
// vector.
#include <fmt/core.h>

#include "models/components.h"
#include "nn/layers.h"

namespace cairn::models {
namespace {

using nn::Weights;

struct ClipConfig {
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0, num_attention_heads = 0;
  int64_t max_position_embeddings = 77, eos_token_id = 49407;
  double layer_norm_eps = 1e-5;
  std::string hidden_act = "quick_gelu";

  void fields(auto& f) {
    f("vocab_size", vocab_size, "tokens", required().between(1, 1e7))("hidden_size", hidden_size, "width",
                                                                      required().between(1, 65536));
    f("intermediate_size", intermediate_size, "width of the MLP", required().between(1, 1 << 20));
    f("num_hidden_layers", num_hidden_layers, "layers", required().between(1, 1000));
    f("num_attention_heads", num_attention_heads, "heads", required().between(1, 1024));
    f("max_position_embeddings", max_position_embeddings, "longest text", between(1, 1 << 20));
    f("eos_token_id", eos_token_id, "end token")("layer_norm_eps", layer_norm_eps, "", between(0, 1));
    f("hidden_act", hidden_act, "activation of the MLP", one_of({"quick_gelu", "gelu"}));
  }
};

class Layer {
 public:
  Layer(const Weights& w, const ClipConfig& c)
      : norm1_(w / "layer_norm1", c.hidden_size, c.layer_norm_eps),
        norm2_(w / "layer_norm2", c.hidden_size, c.layer_norm_eps),
        q_(w / "self_attn" / "q_proj", c.hidden_size, c.hidden_size),
        k_(w / "self_attn" / "k_proj", c.hidden_size, c.hidden_size),
        v_(w / "self_attn" / "v_proj", c.hidden_size, c.hidden_size),
        out_(w / "self_attn" / "out_proj", c.hidden_size, c.hidden_size),
        up_(w / "mlp" / "fc1", c.hidden_size, c.intermediate_size),
        down_(w / "mlp" / "fc2", c.intermediate_size, c.hidden_size),
        act_(c.hidden_act == "gelu" ? nn::Activation::kGelu : nn::Activation::kQuickGelu),
        head_dim_(c.hidden_size / c.num_attention_heads) {}

  Tensor operator()(const Tensor& x) const {
    const auto a = ops::qkv({{norm1_(x), q_.weight(), k_.weight(), v_.weight(), {}, {}}}, {}, head_dim_, 0);
    const double scale = 1 / std::sqrt(static_cast<double>(head_dim_));
    const Tensor h = out_.add_to(x, ops::attention(a.q, a.k, a.v, {}, true, scale));
    return down_.add_to(h, up_(norm2_(h), act_));
  }

 private:
  nn::LayerNorm norm1_, norm2_;
  nn::Linear q_, k_, v_, out_, up_, down_;
  nn::Activation act_;
  int64_t head_dim_;
};

class ClipText final : public diffusion::TextEncoder {
 public:
  ClipText(const Weights& w, const ClipConfig& c)
      : config_(c),
        tokens_(w / "embeddings" / "token_embedding", c.vocab_size, c.hidden_size),
        positions_(w / "embeddings" / "position_embedding", c.max_position_embeddings, c.hidden_size),
        layers_(nn::stack<Layer>(w / "encoder" / "layers", c.num_hidden_layers, c)),
        norm_(w / "final_layer_norm", c.hidden_size, c.layer_norm_eps) {}

  diffusion::Encoded encode(const Tensor& ids) const override {
    const int64_t length = ids.size(1);
    if (length > config_.max_position_embeddings)
      throw Failure(
          Error{Code::kInvalidArgument, fmt::format("a text of {} tokens is longer than the text encoder's {}", length,
                                                    config_.max_position_embeddings)});
    Tensor x = tokens_(ids) + positions_.weight().narrow(0, 0, length);
    for (const Layer& layer : layers_) x = layer(x);
    x = norm_(x);
    // Configurations of old checkpoints name end token 2, which is wrong: there the end token is the highest id.
    const Tensor is_end = config_.eos_token_id == 2 ? ids : ids.eq(config_.eos_token_id).to(Dtype::Int);
    const Tensor at = is_end.argmax(-1).to(x.device()).view({-1, 1, 1}).expand({-1, 1, x.size(2)});
    return {x, x.gather(1, at).squeeze(1)};
  }
  int64_t width() const override { return config_.hidden_size; }

 private:
  ClipConfig config_;
  nn::Embedding tokens_, positions_;
  std::vector<Layer> layers_;
  nn::LayerNorm norm_;
};

}  // namespace

std::unique_ptr<diffusion::TextEncoder> make_clip_text(const Weights& w, const Json& config) {
  const auto c = or_throw(read<ClipConfig>(config, "text encoder config", Unknown::kIgnore));
  if (c.hidden_size % c.num_attention_heads != 0)
    throw Failure(
        Error{Code::kInvalidArgument, "text encoder config: hidden_size is no multiple of num_attention_heads"});
  // Files written before transformers 5 keep everything under text_model.
  return std::make_unique<ClipText>(w.has("text_model.final_layer_norm.weight") ? w / "text_model" : w, c);
}

}  // namespace cairn::models
