#include "models/generation_config.h"

#include <filesystem>

#include "base/fields.h"
#include "base/json.h"

namespace cairn::models {
namespace {

Result<std::vector<int32_t>> end_tokens(const Json& config, const std::string& path) {
  const Json* ids = config.find("eos_token_id");
  std::vector<int32_t> out;
  if (!ids || ids->is_null()) return out;
  const Json::Array one{*ids};
  for (const Json& id : ids->as_array() ? *ids->as_array() : one) {
    if (!id.as_int() || *id.as_int() < 0 || *id.as_int() >= int64_t{1} << 31)
      return invalid(path + ": eos_token_id must be a token id, or a list of them");
    out.push_back(static_cast<int32_t>(*id.as_int()));
  }
  return out;
}

struct Sampled {
  GenerationConfig& out;
  void fields(auto& f) {
    f("temperature", out.temperature, "", at_least(0))("top_p", out.top_p, "", between(0, 1));
    f("min_p", out.min_p, "", between(0, 1))("repetition_penalty", out.repetition_penalty, "", between(0, 2));
    f("top_k", out.top_k, "", at_least(-1));
  }
};

}  // namespace

Result<GenerationConfig> load_generation_config(const std::string& folder) {
  GenerationConfig out;
  std::error_code none;
  if (const std::string path = folder + "/generation_config.json"; std::filesystem::exists(path, none)) {
    const Json config = TRY(Json::read(path));
    out.ends = TRY(end_tokens(config, path));
    Sampled sampled{out};
    TRY_VOID(read_into(sampled, config, path, Unknown::kIgnore));
    if (out.top_k == 0) out.top_k = -1;  // transformers' way to say all
  }
  if (const std::string path = folder + "/config.json"; out.ends.empty() && std::filesystem::exists(path, none))
    out.ends = TRY(end_tokens(TRY(Json::read(path)), path));
  return out;
}

}  // namespace cairn::models
