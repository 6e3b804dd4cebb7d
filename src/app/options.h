// The flags that commands share, under cache-dit's names. Defaults are cache-dit's where it has them.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"
#include "diffusion/cache/config.h"
#include "models/registry.h"

namespace cairn::app {

inline constexpr const char* kAttnHelp =
    "what computes attention: native, _native_flash, _npu_fia, ...; one that the device lacks is answered with all it "
    "has";

// Which model, on what.
struct ModelOptions {
  std::string model_path, synthetic, dtype = "bf16", device = "cpu", threads_bind;
  std::vector<std::string> lora;
  std::optional<std::string> attn;
  int64_t threads = 0;

  void fields(auto& f) {
    f("model_path", model_path, "diffusers pipeline folder; the embedded cairn-emoji without", alias({"model"}));
    f("synthetic", synthetic, "a model's shape without its files: flux-dev, flux-schnell, flux-dev:layers=2");
    f("lora", lora, "LoRA files to add, FILE or FILE:SCALE", alias({"lora_path"}));
    f("dtype", dtype, "numbers to compute with", one_of({"bf16", "fp32", "fp16"}));
    f("device", device, "where to compute")("threads", threads, "processor threads; 0: one a core", between(0, 4096));
    f("threads_bind", threads_bind, "processors that they are bound to, as 0-7,16; without: the system places them");
    f("attn", attn, kAttnHelp, alias({"attention_backend"}));
  }
};

// Step caching. Any of these flags turns the cache on.
struct CacheOptions {
  bool cache = false;
  std::string config_path;
  int64_t front = 1, back = 0, warmup = 8, warmup_interval = 1, max_cached = -1, max_continuous = 3;
  double threshold = 0.12;
  bool taylorseer = false, dmd = false, foca = false, steps_mask = false;
  int64_t order = 1, history = 6;
  std::string dmd_precision = "medium";
  std::optional<std::string> mask_policy;

  void fields(auto& f) {
    f("cache", cache, "step caching with the flags below");
    f("config_path", config_path, "cache-dit YAML file; its keys win over the flags below", alias({"config"}));
    f("Fn_compute_blocks", front, "first blocks, always run", alias({"Fn"}).between(1, 1e6));
    f("Bn_compute_blocks", back, "last blocks, always run", alias({"Bn"}).between(0, 1e6));
    f("residual_diff_threshold", threshold, "skip a step that changes less than this", alias({"rdt"}));
    f("max_warmup_steps", warmup, "first steps, always computed", alias({"ws"}).between(0, 1e6));
    f("warmup_interval", warmup_interval, "of those, every n-th", alias({"wi"}).between(1, 1e6));
    f("max_cached_steps", max_cached, "most skipped steps; -1: any number", alias({"mc"}).between(-1, 1e6));
    f("max_continuous_cached_steps", max_continuous, "most skipped steps in a row; -1: any number",
      alias({"mcc"}).between(-1, 1e6));
    f("taylorseer", taylorseer, "predict skipped blocks by Taylor expansion");
    f("taylorseer_order", order, "its order", alias({"order"}).between(0, 6));
    f("dmd", dmd, "predict skipped blocks by dynamic mode decomposition")("dmd_history", history,
                                                                          "computed steps it looks at", between(2, 32));
    f("dmd_svd_precision", dmd_precision, "kept for its tag", alias({"dmd_svd"}).one_of({"low", "medium", "high"}));
    f("foca", foca, "predict skipped blocks with FoCa");
    f("steps_mask", steps_mask, "computed steps by a mask: medium, or what --scm says");
    f("mask_policy", mask_policy, "the mask",
      alias({"scm"}).one_of({"slow", "s", "medium", "m", "fast", "f", "ultra", "u"}));
  }
};

// Opens the device, sets threads, loads the model; notes go to stderr unless `quiet`.
Result<diffusion::Pipeline> load_model(const ModelOptions& options, bool quiet);
// The folder of weights/cairn-emoji beside this program's checkout or installation.
Result<std::string> embedded_model(const std::string& name);

// The cache that flags and file ask for, for that many steps; nothing when they ask for none. A file may also name what
// computes attention.
Result<std::optional<diffusion::CacheConfig>> cache_config(const CacheOptions& options, bool asked, int64_t steps,
                                                           std::optional<std::string>& attn);
// Whether any flag of CacheOptions was given.
template <class Flags>
bool asks_for_cache(const Flags& flags) {
  for (const auto& field : list_fields<CacheOptions>())
    if (flags.given(field.name)) return true;
  return false;
}

}  // namespace cairn::app
