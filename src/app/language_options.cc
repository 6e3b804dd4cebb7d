#include "app/language_options.h"

#include <filesystem>

#include "app/options.h"
#include "device/device.h"

namespace cairn::app {

Result<LanguageModel> load_language(const LanguageOptions& o) {
  if (!o.synthetic.empty() && !o.model_path.empty()) return invalid("give --model or --synthetic, not both");
  const auto device = TRY(device::open(o.device));
  device::set_threads(o.threads);
  const Dtype dtype = device::compute_dtype(device, TRY(parse_dtype(o.dtype)));
  LanguageModel out;
  if (!o.synthetic.empty()) {
    out.name = o.synthetic;
    out.model = TRY(models::synthetic_language_model(o.synthetic, dtype));
    return out;
  }
  out.folder = o.model_path.empty() ? TRY(embedded_model("cairn-tiny-lm")) : o.model_path;
  out.name = std::filesystem::path(out.folder + "/.").lexically_normal().parent_path().filename().string();
  out.model = TRY(models::load_language_model(out.folder, dtype));
  return out;
}

Result<std::vector<int32_t>> end_tokens(const std::string& folder) {
  for (const char* name : {"/generation_config.json", "/config.json"}) {
    if (!std::filesystem::exists(folder + name)) continue;
    const Json config = TRY(Json::read(folder + name));
    const Json* ids = config.find("eos_token_id");
    if (!ids || ids->is_null()) continue;
    std::vector<int32_t> out;
    const auto add = [&](const Json& id) {
      const bool fits = id.as_int() && *id.as_int() >= 0 && *id.as_int() < (int64_t{1} << 31);
      if (fits) out.push_back(static_cast<int32_t>(*id.as_int()));
      return fits;
    };
    bool good = true;
    if (ids->as_array())
      for (const Json& id : *ids->as_array()) good = add(id) && good;
    else
      good = add(*ids);
    if (!good) return invalid(folder + name + ": eos_token_id must be a token id, or a list of them");
    return out;
  }
  return std::vector<int32_t>();
}

}  // namespace cairn::app
