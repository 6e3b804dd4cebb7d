// Language models of published shapes from synthetic weights, for benchmarks and memory tests.
#include <fmt/core.h>

#include <charconv>

#include "base/strings.h"
#include "device/device.h"
#include "models/language.h"

namespace cairn::models {
namespace {

// config.json of each, as far as it is read.
constexpr std::pair<const char*, const char*> kShapes[] = {
    {"qwen3-0.6b", R"({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28,
      "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
      "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": true})"},
    {"llama-3.1-8b", R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
      "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000, "tie_word_embeddings": false,
      "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
      "original_max_position_embeddings": 8192}})"},
    {"qwen3-30b-a3b", R"({"model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048,
      "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
      "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
      "norm_topk_prob": true, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000,
      "tie_word_embeddings": false})"},
    {"deepseek-v3", R"({"model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168,
      "num_hidden_layers": 61, "num_attention_heads": 128, "intermediate_size": 18432, "moe_intermediate_size": 2048,
      "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
      "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
      "norm_topk_prob": true, "routed_scaling_factor": 2.5, "first_k_dense_replace": 3,
      "max_position_embeddings": 163840, "rms_norm_eps": 1e-6, "rope_theta": 10000,
      "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1, "mscale_all_dim": 1, "beta_fast": 32,
      "beta_slow": 1, "original_max_position_embeddings": 4096}})"}};

}  // namespace

Result<std::unique_ptr<llm::CausalLm>> synthetic_language_model(const std::string& spec, Dtype dtype,
                                                                c10::Device device) {
  const device::LibtorchThreads all;
  const size_t colon = spec.find(':');
  const std::string name = spec.substr(0, colon), rest = colon == std::string::npos ? "" : spec.substr(colon + 1);
  std::vector<std::string> names;
  for (const auto& [shape, text] : kShapes) {
    names.emplace_back(shape);
    if (name != shape) continue;
    Json config = TRY(Json::parse(text));
    if (!rest.empty()) {
      const std::string prefix = "layers=";
      int64_t layers = 0;
      const char* end = rest.data() + rest.size();
      if (!rest.starts_with(prefix) ||
          std::from_chars(rest.data() + prefix.size(), end, layers) != std::from_chars_result{end, std::errc()} ||
          layers < 1 || layers > 1000)
        return invalid(fmt::format("--synthetic {}: after the colon may stand layers=N, N from 1 to 1000", spec));
      config.set("num_hidden_layers", layers);
    }
    return make_language_model(config, nn::Weights(nn::synthetic(0, device), dtype, device));
  }
  return invalid(fmt::format("no shape \"{}\"{}; there are {}", name, did_you_mean(name, names), join(names, ", ")));
}

}  // namespace cairn::models
