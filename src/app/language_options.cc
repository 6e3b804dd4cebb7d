#include "app/language_options.h"

#include <filesystem>

#include "app/options.h"
#include "device/device.h"

namespace cairn::app {

Result<LanguageModel> load_language(const LanguageOptions& o) {
  if (!o.synthetic.empty() && !o.model_path.empty()) return invalid("give --model or --synthetic, not both");
  const auto device = TRY(device::open(o.device));
  TRY_VOID(device::set_threads(o.threads, o.threads_bind));
  const Dtype dtype = device::compute_dtype(device, TRY(parse_dtype(o.dtype)));
  LanguageModel out;
  if (!o.synthetic.empty()) {
    out.name = o.synthetic;
    out.model = TRY(models::synthetic_language_model(o.synthetic, dtype, device));
    return out;
  }
  out.folder = o.model_path.empty() ? TRY(embedded_model("cairn-tiny-lm")) : o.model_path;
  out.name = std::filesystem::path(out.folder + "/.").lexically_normal().parent_path().filename().string();
  out.model = TRY(models::load_language_model(out.folder, dtype, device));
  return out;
}

}  // namespace cairn::app
