#include "diffusion/cache/config.h"

#include <fmt/format.h>

#include <cmath>

#include "base/file.h"
#include "base/strings.h"
#include "base/yaml.h"
#include "diffusion/cache/mask.h"
#include "diffusion/cache/text.h"

namespace cairn::diffusion {
namespace {

const std::vector<std::string> kLater = {"parallelism_config", "quantize_config"};

// Masks given by name become lists, here and in the overrides of stacks, so that fields() meets lists only.
Result<Json> with_masks(Json json, const std::string& where, const Json* steps) {
  if (!json.as_object()) return invalid(where + ": expected an object, got " + json.kind());
  if (const Json* own = json.find("num_inference_steps"); own && !own->is_null()) steps = own;
  if (const Json* m = json.find("steps_computation_mask"); m && m->as_string()) {
    if (!steps || !steps->as_int())
      return invalid(where + ".steps_computation_mask: a mask given by name needs num_inference_steps beside it");
    auto mask = named_mask(*m->as_string(), *steps->as_int());
    if (!mask) return tl::unexpected(within(where + ".steps_computation_mask", std::move(mask).error()));
    Json::Array list;
    for (int64_t v : *mask) list.emplace_back(v);
    json.set("steps_computation_mask", Json(std::move(list)));
  }
  const Json* stacks = json.find("stacks");
  if (stacks && !stacks->is_null()) {
    if (!stacks->as_object()) return invalid(where + ".stacks: expected an object, got " + std::string(stacks->kind()));
    Json out(Json::Object{});
    for (const auto& [name, keys] : *stacks->as_object()) {
      if (keys.find("stacks")) return invalid(where + ".stacks." + name + ": stacks do not nest");
      out.set(name, TRY(with_masks(keys, where + ".stacks." + name, steps)));
    }
    json.set("stacks", std::move(out));
  }
  return json;
}

Result<void> finite(const char* key, double v) {
  if (!std::isfinite(v)) return invalid(fmt::format("{} is {}: give a finite number", key, v));
  return {};
}

}  // namespace

Prediction CacheConfig::prediction() const {
  if (taylorseer) return {Forecast::kTaylorSeer, encoder_taylorseer, taylorseer_mode == "hidden_states"};
  if (dmd) return {Forecast::kDmd, encoder_dmd.value_or(true), mode == "hidden_states"};
  if (foca) return {Forecast::kFoCa, encoder_foca, mode == "hidden_states"};
  return {};
}

Result<void> CacheConfig::validate() const {
  if (front < 1) return invalid("Fn_compute_blocks must be at least 1: the change of the first blocks decides");
  if (back < 0) return invalid("Bn_compute_blocks must not be negative");
  if (warmup < 0 || warmup_interval < 1)
    return invalid("max_warmup_steps must be 0 or more, warmup_interval 1 or more");
  if (downsample < 1) return invalid("downsample_factor must be at least 1");
  TRY_VOID(finite("residual_diff_threshold", threshold));
  TRY_VOID(finite("max_accumulated_residual_diff_threshold", max_accumulated.value_or(0)));
  TRY_VOID(finite("l1_hidden_states_diff_threshold", l1_threshold.value_or(0)));
  TRY_VOID(finite("max_dynamic_prune_threshold", max_dynamic_threshold.value_or(0)));
  TRY_VOID(finite("important_condition_threshold", important));
  TRY_VOID(finite("dynamic_prune_threshold_relax_ratio", relax));
  TRY_VOID(finite("dmd_ridge", ridge));
  if (taylorseer + dmd + foca > 1)
    return invalid("enable_taylorseer, enable_dmd and enable_foca exclude each other: choose one");
  if (order < 0 || order > 6) return invalid("taylorseer_order must lie in [0, 6]");
  if (history < 2 || history > 32) return invalid("dmd_history must lie in [2, 32]");
  if (refresh_hint && *refresh_hint < 1) return invalid("force_refresh_step_hint must be at least 1");
  if (separate_cfg.value_or(false) && cfg_own_diff && cfg_first)
    return invalid(
        "cfg_compute_first shares the first branch's change: set cfg_diff_compute_separate to false with it");
  if (mask) {
    for (int64_t m : *mask)
      if (m != 0 && m != 1) return invalid("steps_computation_mask holds zeros and ones only");
    if (mask->empty()) return invalid("steps_computation_mask is empty: leave it out, or give a number for each step");
    if (steps && static_cast<int64_t>(mask->size()) != *steps)
      return invalid(
          fmt::format("steps_computation_mask has {} entries for {} num_inference_steps", mask->size(), *steps));
  }
  for (int64_t id : keep)
    if (id < 0) return invalid("non_prune_block_ids must not be negative");
  if (prune() && !compat) {
    if (max_accumulated)
      return invalid("max_accumulated_residual_diff_threshold has no meaning for DBPrune, which measures every block");
    if (l1_threshold) return invalid("l1_hidden_states_diff_threshold has no meaning for DBPrune");
    if (!cfg_own_diff) return invalid("DBPrune measures every branch: cfg_diff_compute_separate must be true");
  }
  return {};
}

Result<CacheConfig> CacheConfig::stack(std::string_view name) const {
  CacheConfig out = *this;
  out.stacks = Json();
  const Json* own = stacks.find(name);
  if (!own) return out;
  const std::string where = "stacks." + std::string(name);
  TRY_VOID(read_into(out, *own, where));
  if (auto ok = out.validate(); !ok) return tl::unexpected(within(where, std::move(ok).error()));
  return out;
}

std::string CacheConfig::prediction_tag() const {
  if (taylorseer) return order > 0 ? fmt::format("T1O{}", order) : "NONE";
  if (foca) return "FoCa";
  if (dmd) return fmt::format("DMDH{}{}", history, dmd_precision == "medium" ? "" : dmd_precision.substr(0, 1));
  return "T0O0";
}

std::string CacheConfig::tag(bool separate) const {
  if (off()) return "";
  std::string out =
      fmt::format("{}_F{}B{}_W{}I{}M{}MC{}_R{}", type, front, back, warmup, warmup_interval,
                  std::max<int64_t>(0, max_cached), std::max<int64_t>(0, max_continuous), python_float(threshold));
  if (prune()) return out;
  if (mask) {
    out += "_SCM";
    for (int64_t m : *mask) out += static_cast<char>('0' + m);
    out += "_" + mask_policy;
  }
  if (steps) out += fmt::format("_N{}", *steps);
  if (refresh_hint) out += fmt::format("_FR{}_{}", *refresh_hint, refresh_policy);
  return out + (separate_cfg.value_or(separate) ? "_CFG1" : "_CFG0");
}

Result<CacheConfig> parse_cache_config(const Json& json) {
  if (!json.as_object()) return invalid(std::string("a cache configuration is an object, got ") + json.kind());
  for (const auto& key : kLater)
    if (json.find(key)) return failure(Code::kUnsupported, key + " is not yet supported: leave it out");
  if (json.find("attention_backend"))
    return failure(Code::kUnsupported, "attention_backend is no part of a cache: a program chooses it once (--attn)");
  const Json* section = json.find("cache_config");
  if (section)
    for (const auto& [key, value] : *json.as_object())
      if (key != "cache_config")
        return invalid("unknown key " + key + did_you_mean(key, {"cache_config"}) + " beside cache_config");
  const std::string where = section ? "cache_config" : "cache";
  auto config =
      TRY(read<CacheConfig>(TRY(with_masks(section ? *section : json, where, nullptr)), section ? where : ""));
  TRY_VOID(config.validate());
  if (const auto* stacks = config.stacks.as_object())
    for (const auto& [name, keys] : *stacks) TRY_VOID(config.stack(name));
  return config;
}

Result<CacheConfig> load_cache_config(const std::string& path) {
  const auto json = path.ends_with(".json") ? Json::read(path) : read_yaml(path);
  if (!json) return tl::unexpected(json.error());
  auto config = parse_cache_config(*json);
  if (!config) return tl::unexpected(within(path, std::move(config).error()));
  return config;
}

}  // namespace cairn::diffusion
