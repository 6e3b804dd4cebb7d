#include "app/options.h"

#include <fmt/core.h>

#include <charconv>
#include <filesystem>

#include "base/strings.h"
#include "base/yaml.h"
#include "device/device.h"
#include "ops/attention.h"

namespace cairn::app {
namespace fs = std::filesystem;

Result<std::string> embedded_model(const std::string& name) {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  // An installation has share/ beside bin/; a checkout has weights/ some folders above the build.
  for (fs::path folder = program.parent_path(); folder.has_relative_path(); folder = folder.parent_path())
    for (const fs::path& at : {folder / "share" / "cairn" / "weights" / name, folder / "weights" / name})
      if (fs::exists(at, ignored)) return at.string();
  return failure(Code::kNotFound,
                 fmt::format("the embedded model {} is not beside the program; name one with --model-path", name));
}

Result<diffusion::Pipeline> load_model(const ModelOptions& options, bool quiet) {
  models::LoadOptions load{
      .dtype = TRY(parse_dtype(options.dtype)), .device = TRY(device::open(options.device)), .loras = {}};
  TRY_VOID(device::set_threads(options.threads, options.threads_bind));
  if (options.attn) TRY_VOID(ops::select_attention(load.device, *options.attn, load.products()));
  for (const auto& spec : options.lora) {
    models::Lora lora{spec, 1.0};
    if (const auto at = spec.rfind(':'); at != std::string::npos) {
      const char *from = spec.data() + at + 1, *end = spec.data() + spec.size();
      const auto r = std::from_chars(from, end, lora.scale);
      if (r.ec != std::errc() || r.ptr != end || !std::isfinite(lora.scale))
        return invalid("--lora " + spec + ": the scale after the colon is no number");
      lora.path = spec.substr(0, at);
    }
    load.loras.push_back(std::move(lora));
  }
  if (!options.synthetic.empty() && !options.model_path.empty())
    return invalid("--synthetic and --model-path exclude each other");
  auto pipe = TRY(options.synthetic.empty()
                      ? models::load_pipeline(
                            options.model_path.empty() ? TRY(embedded_model("cairn-emoji")) : options.model_path, load)
                      : models::synthetic_pipeline(options.synthetic, load));
  if (!quiet && load.products() != load.dtype)
    fmt::print(stderr, "note: {} runs in {} on the CPU; noise and saved latents are {}\n", options.dtype,
               dtype_name(load.products()), options.dtype);
  if (!quiet)
    for (const auto& note : pipe.parts().notes) fmt::print(stderr, "note: {}\n", note);
  return pipe;
}

Result<std::optional<diffusion::CacheConfig>> cache_config(const CacheOptions& o, bool asked, int64_t steps,
                                                           std::optional<std::string>& attn) {
  if (!asked) return std::nullopt;
  Json keys(Json::Object{{"Fn_compute_blocks", o.front},
                         {"Bn_compute_blocks", o.back},
                         {"residual_diff_threshold", o.threshold},
                         {"max_warmup_steps", o.warmup},
                         {"warmup_interval", o.warmup_interval},
                         {"max_cached_steps", o.max_cached},
                         {"max_continuous_cached_steps", o.max_continuous}});
  if (o.taylorseer) {
    keys.set("enable_taylorseer", true);
    keys.set("enable_encoder_taylorseer", true);
    keys.set("taylorseer_order", o.order);
  }
  if (o.foca) {
    keys.set("enable_foca", true);
    keys.set("enable_encoder_foca", true);
  }
  if (o.dmd) {
    keys.set("enable_dmd", true);
    keys.set("dmd_history", o.history);
    keys.set("dmd_svd_precision", o.dmd_precision);
  }
  if (o.steps_mask || o.mask_policy) {
    keys.set("steps_computation_mask", o.mask_policy.value_or("medium"));
    keys.set("num_inference_steps", steps);
  }
  if (!o.config_path.empty()) {
    Json file = TRY(read_yaml(o.config_path));
    if (const Json* name = file.find("attention_backend")) {
      if (!name->as_string()) return invalid(o.config_path + ": attention_backend: expected a name");
      attn = *name->as_string();
      std::erase_if(*file.as_object(), [](const auto& member) { return member.first == "attention_backend"; });
      if (file.as_object()->empty()) return std::nullopt;
    }
    // Only a mask given by name needs to know the steps, and here they are known.
    Json* into = &file;
    if (auto* members = file.as_object())
      for (auto& [key, value] : *members)
        if (key == "cache_config" && value.as_object()) into = &value;
    const Json* mask = into->find("steps_computation_mask");
    if (mask && mask->as_string() && !into->find("num_inference_steps")) into->set("num_inference_steps", steps);
    auto config = diffusion::parse_cache_config(file);
    if (!config) return tl::unexpected(within(o.config_path, std::move(config).error()));
    return *std::move(config);
  }
  return TRY(diffusion::parse_cache_config(keys));
}

}  // namespace cairn::app
