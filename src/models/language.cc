#include "models/language.h"

#include <fmt/core.h>

#include "base/strings.h"
#include "device/device.h"
#include "ops/install.h"

namespace cairn::models {
namespace {

std::unique_ptr<llm::CausalLm> make_latent(const nn::Weights& w, const Json& config) {
  return make_deepseek(w, config);
}

struct Family {
  const char* model_type;
  std::unique_ptr<llm::CausalLm> (*make)(const nn::Weights&, const Json&);
};
constexpr Family kFamilies[] = {{"llama", make_decoder},       {"mistral", make_decoder},   {"qwen2", make_decoder},
                                {"qwen3", make_decoder},       {"phi3", make_decoder},      {"gemma2", make_decoder},
                                {"gemma3_text", make_decoder}, {"mixtral", make_decoder},   {"qwen3_moe", make_decoder},
                                {"deepseek_v2", make_latent},  {"deepseek_v3", make_latent}};

}  // namespace

Result<std::unique_ptr<llm::CausalLm>> make_language_model(const Json& config, const nn::Weights& weights) {
  ops::install_kernels(weights.device());
  const std::string type = config.text("model_type");
  std::vector<std::string> names;
  for (const Family& f : kFamilies) {
    if (type == f.model_type)
      return caught([&] {
        auto model = f.make(weights, config);
        device::synchronize(weights.device());  // its weights may be read from any thread and stream
        return model;
      });
    names.emplace_back(f.model_type);
  }
  return failure(Code::kUnsupported, fmt::format("model_type \"{}\" is not supported{}; {} are", type,
                                                 did_you_mean(type, names), join(names, ", ")));
}

Result<std::unique_ptr<llm::CausalLm>> load_language_model(const std::string& folder, Dtype dtype, c10::Device device) {
  const device::LibtorchThreads all;
  const Json config = TRY(Json::read(folder + "/config.json"));
  auto source = TRY(nn::open_checkpoint(folder, {"model"}));
  return make_language_model(config, nn::Weights(std::move(source), dtype, device));
}

}  // namespace cairn::models
