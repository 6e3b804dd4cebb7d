// One make_ function per family of language models; language.cc is the table of them.
#pragma once
#include <memory>
#include <string>

#include "base/json.h"
#include "llm/causal_lm.h"
#include "nn/weights.h"

namespace cairn::models {

std::unique_ptr<llm::CausalLm> make_decoder(const nn::Weights& w, const Json& config);
// Multi-head latent attention on the latents as they are, on keys and values expanded from them, or as is cheaper.
enum class Mla { kAuto, kAbsorbed, kPlain };
std::unique_ptr<llm::CausalLm> make_deepseek(const nn::Weights& w, const Json& config, Mla mla = Mla::kAuto);

// A transformers folder: config.json, and model.safetensors or its shards. `dtype`: what products are computed in.
Result<std::unique_ptr<llm::CausalLm>> load_language_model(const std::string& folder, Dtype dtype,
                                                           c10::Device device = c10::DeviceType::CPU);

// The same from a parsed config and any source of weights.
Result<std::unique_ptr<llm::CausalLm>> make_language_model(const Json& config, const nn::Weights& weights);

// A published shape from synthetic weights: "qwen3-0.6b", or "llama-3.1-8b:layers=2" for fewer layers.
Result<std::unique_ptr<llm::CausalLm>> synthetic_language_model(const std::string& spec, Dtype dtype,
                                                                c10::Device device = c10::DeviceType::CPU);

}  // namespace cairn::models
