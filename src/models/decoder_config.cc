#include "models/decoder_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/fields.h"

namespace cairn::models {
namespace {

struct Keys {
  std::string model_type;
  int64_t vocab_size = 0, hidden_size = 0, num_hidden_layers = 0, num_attention_heads = 0, intermediate_size = 0;
  std::optional<int64_t> num_key_value_heads, head_dim, sliding_window, max_window_layers, sliding_window_pattern,
      num_experts, num_local_experts, num_experts_per_tok, moe_intermediate_size, decoder_sparse_step;
  int64_t max_position_embeddings = 2048;
  std::optional<double> rms_norm_eps, query_pre_attn_scalar, attn_logit_softcapping, final_logit_softcapping,
      rope_local_base_freq;
  std::optional<std::string> hidden_act, hidden_activation;
  std::optional<bool> tie_word_embeddings, attention_bias, mlp_bias, use_sliding_window, norm_topk_prob;
  std::optional<std::vector<std::string>> layer_types;
  std::optional<std::vector<int64_t>> mlp_only_layers;

  void fields(auto& f) {
    const auto size = [] { return between(1, 1 << 24); };
    f("model_type", model_type, "", required())("vocab_size", vocab_size, "", required().between(1, 1e8));
    f("hidden_size", hidden_size, "", required().between(1, 1 << 20));
    f("num_hidden_layers", num_hidden_layers, "", required().between(1, 4096));
    f("num_attention_heads", num_attention_heads, "", required().between(1, 65536));
    f("intermediate_size", intermediate_size, "", required().between(1, 1 << 24));
    f("num_key_value_heads", num_key_value_heads, "", between(1, 65536))("head_dim", head_dim, "", between(2, 8192));
    f("sliding_window", sliding_window, "", between(1, 1e9))("max_window_layers", max_window_layers, "", at_least(0));
    f("sliding_window_pattern", sliding_window_pattern, "", between(1, 4096));
    f("num_experts", num_experts, "", between(0, 65536))("num_local_experts", num_local_experts, "", between(0, 65536));
    f("num_experts_per_tok", num_experts_per_tok, "", between(1, 1024));
    f("moe_intermediate_size", moe_intermediate_size, "", size())("decoder_sparse_step", decoder_sparse_step, "",
                                                                  size());
    f("max_position_embeddings", max_position_embeddings, "", between(1, 1e9));
    f("rms_norm_eps", rms_norm_eps, "", between(0, 1));
    f("query_pre_attn_scalar", query_pre_attn_scalar, "", between(1e-6, 1e9));
    f("attn_logit_softcapping", attn_logit_softcapping, "", between(1e-6, 1e9));
    f("final_logit_softcapping", final_logit_softcapping, "", between(1e-6, 1e9));
    f("rope_local_base_freq", rope_local_base_freq, "", between(1e-6, 1e15));
    f("hidden_act", hidden_act, "")("hidden_activation", hidden_activation, "");
    f("tie_word_embeddings", tie_word_embeddings, "")("attention_bias", attention_bias, "")("mlp_bias", mlp_bias, "");
    f("use_sliding_window", use_sliding_window, "")("norm_topk_prob", norm_topk_prob, "");
    f("layer_types", layer_types, "")("mlp_only_layers", mlp_only_layers, "");
  }
};

// What the families do that their config does not say.
struct Family {
  const char* name;
  bool qkv_bias, head_norm, fused, gemma, moe;
};
constexpr Family kFamilies[] = {
    {"llama", false, false, false, false, false},     {"mistral", false, false, false, false, false},
    {"qwen2", true, false, false, false, false},      {"qwen3", false, true, false, false, false},
    {"phi3", false, false, true, false, false},       {"gemma2", false, false, false, true, false},
    {"gemma3_text", false, true, false, true, false}, {"mixtral", false, false, false, false, true},
    {"qwen3_moe", false, true, false, false, true}};

// The window of each layer. Gemma's layers take turns, Qwen's have one from a layer on, others all or none.
Result<std::vector<int64_t>> windows_of(const Keys& k) {
  std::vector<int64_t> out(static_cast<size_t>(k.num_hidden_layers), 0);
  const int64_t window = k.sliding_window.value_or(0);
  if (window == 0) return out;
  const bool qwen = k.model_type.starts_with("qwen");
  if (qwen && !k.use_sliding_window.value_or(false)) return out;
  if (k.layer_types && static_cast<int64_t>(k.layer_types->size()) != k.num_hidden_layers)
    return invalid(fmt::format("layer_types has {} entries for {} layers", k.layer_types->size(), k.num_hidden_layers));
  const int64_t pattern = k.sliding_window_pattern.value_or(k.model_type == "gemma2" ? 2 : 6);
  for (int64_t i = 0; i < k.num_hidden_layers; ++i) {
    bool narrow = true;
    if (k.layer_types)
      narrow = (*k.layer_types)[static_cast<size_t>(i)] == "sliding_attention";
    else if (k.model_type.starts_with("gemma"))
      narrow = (i + 1) % pattern != 0;
    else if (qwen && k.model_type != "qwen3_moe")
      narrow = i >= k.max_window_layers.value_or(28);
    if (narrow) out[static_cast<size_t>(i)] = window;
  }
  return out;
}

}  // namespace

Result<ops::Activation> parse_activation(const std::string& name) {
  if (name == "silu" || name == "swish") return ops::Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return ops::Activation::kGeluTanh;
  if (name == "gelu") return ops::Activation::kGelu;
  return failure(Code::kUnsupported, "activation \"" + name + "\" is not supported; silu, gelu, gelu_pytorch_tanh are");
}

Result<DecoderConfig> DecoderConfig::read(const Json& config) {
  const Keys k = TRY(cairn::read<Keys>(config, "config", Unknown::kIgnore));
  const auto* family = std::ranges::find_if(kFamilies, [&](const Family& f) { return k.model_type == f.name; });
  if (family == std::end(kFamilies))
    return failure(Code::kUnsupported, "model_type \"" + k.model_type + "\" is no decoder that Cairn knows");
  DecoderConfig c;
  c.family = k.model_type;
  c.vocab = k.vocab_size, c.hidden = k.hidden_size, c.layers = k.num_hidden_layers, c.heads = k.num_attention_heads;
  c.kv_heads = k.num_key_value_heads.value_or(c.heads);
  c.head_width = k.head_dim.value_or(c.hidden / c.heads);
  c.mlp = k.intermediate_size, c.positions = k.max_position_embeddings;
  if (c.heads % c.kv_heads != 0)
    return invalid(fmt::format("num_attention_heads {} is no multiple of num_key_value_heads {}", c.heads, c.kv_heads));
  if (c.head_width % 2 != 0 || c.head_width < 2) return invalid(fmt::format("head_dim {} is not even", c.head_width));
  c.eps = k.rms_norm_eps.value_or(1e-6);
  c.gemma = family->gemma, c.fused = family->fused, c.head_norm = family->head_norm;
  c.scale = 1 / std::sqrt(c.gemma ? k.query_pre_attn_scalar.value_or(256) : static_cast<double>(c.head_width));
  c.softcap = k.attn_logit_softcapping.value_or(0), c.final_softcap = k.final_logit_softcapping.value_or(0);
  c.act = TRY(parse_activation(c.gemma ? k.hidden_activation.value_or(k.hidden_act.value_or("gelu_pytorch_tanh"))
                                       : k.hidden_act.value_or("silu")));
  c.tied = k.tie_word_embeddings.value_or(c.gemma);
  c.qkv_bias = family->qkv_bias || k.attention_bias.value_or(false);
  c.out_bias = k.attention_bias.value_or(false), c.mlp_bias = k.mlp_bias.value_or(false);
  c.windows = TRY(windows_of(k));
  c.rope = TRY(nn::RopeConfig::read(config, "full_attention"));
  c.has_local = c.family == "gemma3_text";
  if (c.has_local) {
    const Json* parts = config.find("rope_parameters");
    if (parts && parts->find("sliding_attention")) {
      c.local_rope = TRY(nn::RopeConfig::read(config, "sliding_attention"));
    } else {
      c.local_rope.theta = k.rope_local_base_freq.value_or(10000);
    }
  }
  c.sparse.resize(static_cast<size_t>(c.layers));
  if (family->moe) {
    c.experts = k.num_local_experts.value_or(k.num_experts.value_or(0));
    c.experts_each = k.num_experts_per_tok.value_or(2);
    if (c.experts < 1 || c.experts_each > c.experts)
      return invalid(fmt::format("num_experts_per_tok {} of {} experts", c.experts_each, c.experts));
    c.mixtral = c.family == "mixtral";
    c.expert_mlp = k.moe_intermediate_size.value_or(c.mlp);
    c.normalise = c.mixtral || k.norm_topk_prob.value_or(false);
    for (int64_t i = 0; i < c.layers; ++i)
      c.sparse[static_cast<size_t>(i)] = !(k.mlp_only_layers && std::ranges::count(*k.mlp_only_layers, i)) &&
                                         (i + 1) % k.decoder_sparse_step.value_or(1) == 0;
  }
  return c;
}

}  // namespace cairn::models
