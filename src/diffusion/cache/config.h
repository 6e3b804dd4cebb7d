// What a user may ask of a step cache. The keys are cache-dit's, so its YAML files work unchanged:
//
//   auto config = TRY(load_cache_config("cache.yaml"));   // or parse_cache_config(json)
//   RequestCache cache(config);                           // step_cache.h
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fields.h"
#include "base/json.h"

namespace cairn::diffusion {

enum class Forecast { kHold, kTaylorSeer, kFoCa, kDmd };

// How the value of skipped blocks is predicted.
struct Prediction {
  Forecast kind = Forecast::kHold;
  bool encoder = false;        // the encoder stream too; otherwise its last residual is held
  bool hidden_states = false;  // predicts the stream itself instead of what the blocks added to it
};

struct CacheConfig {
  std::string type = "DBCache";
  int64_t front = 8, back = 0;
  double threshold = 0.08;
  std::optional<double> max_accumulated;
  int64_t warmup = 8, warmup_interval = 1, max_cached = -1, max_continuous = -1;
  std::optional<bool> separate_cfg;
  bool cfg_first = false, cfg_own_diff = true;
  std::optional<int64_t> steps;
  std::optional<std::vector<int64_t>>
      mask;  // 1 computes the step, 0 lets the gate decide (dynamic) or skips it (static)
  std::string mask_policy = "dynamic";
  std::optional<int64_t> refresh_hint;
  std::string refresh_policy = "once";
  std::optional<double> l1_threshold;
  double important = 0;
  int64_t downsample = 1;

  bool dynamic_threshold = false;
  std::optional<double> max_dynamic_threshold;
  double relax = 1.25;
  std::vector<int64_t> keep;
  bool reduce_memory = false;

  bool taylorseer = false, encoder_taylorseer = false, dmd = false, foca = false, encoder_foca = false;
  std::optional<bool> encoder_dmd;
  std::string taylorseer_mode = "residual", mode = "residual", dmd_precision = "medium";
  int64_t order = 1, history = 6, rank = 0;
  double ridge = 1e-8;

  bool compat = false;
  Json stacks;  // name of a block stack -> the keys that differ there

  bool off() const { return type == "NONE"; }
  bool prune() const { return type == "DBPrune"; }
  bool fixed_mask() const { return mask && mask_policy == "static"; }
  Prediction prediction() const;

  // Whether the values make sense together.
  Result<void> validate() const;
  // This configuration with the overrides of one block stack.
  Result<CacheConfig> stack(std::string_view name) const;
  // cache-dit's short name without its statistics: "DBCache_F8B0_W8I1M0MC0_R0.08_CFG0". `separate` tells whether the
  // request has a guidance branch, for configurations that leave it open.
  std::string tag(bool separate) const;
  std::string prediction_tag() const;  // "T0O0", "T1O2", "FoCa", "DMDH6"

  void fields(auto& f) {
    const auto count = [] { return between(-1, 1e6); };
    f("cache_type", type, "DBCache skips the middle blocks of a step, DBPrune single blocks",
      one_of({"DBCache", "DBPrune", "NONE"}));
    f("Fn_compute_blocks", front, "first blocks, which always run; their change decides", between(1, 1e6));
    f("Bn_compute_blocks", back, "last blocks, which always run", between(0, 1e6));
    f("residual_diff_threshold", threshold,
      "a step is skipped when its relative change is below this; 0 never, 1 always");
    f("max_accumulated_residual_diff_threshold", max_accumulated,
      "compute once the changes since the last computed step add up to this");
    f("max_warmup_steps", warmup, "first steps, always computed", between(0, 1e6));
    f("warmup_interval", warmup_interval, "of the warm-up, compute every n-th step only", between(1, 1e6));
    f("max_cached_steps", max_cached, "most skipped steps of a request and branch; -1 for no limit", count());
    f("max_continuous_cached_steps", max_continuous, "most steps skipped in a row; -1 for no limit", count());
    f("enable_separate_cfg", separate_cfg,
      "the guidance branch is a forward pass of its own; follows the model when left out");
    f("cfg_compute_first", cfg_first, "the guidance branch runs before the main one");
    f("cfg_diff_compute_separate", cfg_own_diff, "each branch measures its own change; false shares the first one's");
    f("num_inference_steps", steps, "steps of a request; a mask given by name needs it", between(1, 10000));
    f("steps_computation_mask", mask, "1 computes a step, 0 may skip it; or slow, medium, fast, ultra", between(0, 1));
    f("steps_computation_policy", mask_policy, "zeros of the mask: dynamic lets the change decide, static skips",
      one_of({"dynamic", "static"}));
    f("force_refresh_step_hint", refresh_hint, "start afresh after this many steps", between(1, 1e6));
    f("force_refresh_step_policy", refresh_policy, "start afresh once, or again and again", one_of({"once", "repeat"}));
    f("l1_hidden_states_diff_threshold", l1_threshold,
      "compare the stream after the first blocks, not what they added, with this threshold");
    f("important_condition_threshold", important,
      "measure only tokens whose own change exceeds this, when there are any");
    f("downsample_factor", downsample, "compare every n-th channel only", between(1, 1e6));
    f("enable_dynamic_prune_threshold", dynamic_threshold,
      "DBPrune: follow the mean change of the step's first blocks");
    f("max_dynamic_prune_threshold", max_dynamic_threshold,
      "DBPrune: the followed threshold stays below this (twice the threshold)");
    f("dynamic_prune_threshold_relax_ratio", relax, "DBPrune: the mean change times this is followed", at_least(0));
    f("non_prune_block_ids", keep, "DBPrune: blocks that always run", between(0, 1e6));
    f("force_reduce_calibrator_vram", reduce_memory, "DBPrune: with a predictor, compare at most every fourth channel");
    f("enable_taylorseer", taylorseer, "predict skipped blocks by Taylor expansion");
    f("enable_encoder_taylorseer", encoder_taylorseer, "the encoder stream too");
    f("taylorseer_cache_type", taylorseer_mode, "predict what blocks add, or the stream",
      one_of({"residual", "hidden_states"}));
    f("taylorseer_order", order, "derivatives of the expansion", between(0, 6));
    f("enable_dmd", dmd, "predict by dynamic mode decomposition");
    f("enable_encoder_dmd", encoder_dmd, "the encoder stream too; follows enable_dmd when left out");
    f("dmd_history", history, "computed steps that are kept", between(2, 32));
    f("dmd_rank", rank, "modes that are fitted; 0 chooses", between(0, 32));
    f("dmd_ridge", ridge, "added to singular values before they divide", at_least(0));
    f("dmd_svd_precision", dmd_precision, "kept for its tag: the fit is always in double precision",
      one_of({"low", "medium", "high"}));
    f("enable_foca", foca, "predict with FoCa");
    f("enable_encoder_foca", encoder_foca, "the encoder stream too");
    f("calibrator_cache_type", mode, "DMD and FoCa: predict what blocks add, or the stream",
      one_of({"residual", "hidden_states"}));
    f("compat", compat, "repeat the known defects of cache-dit, for comparison");
    f("stacks", stacks, "name of a block stack -> the keys that differ there");
  }
};

// A whole file or request body: {cache_config: {...}}, or the keys at top level. Unknown keys are errors; so are
// parallelism_config and quantize_config, which are not yet supported, and attention_backend, which is a program's.
Result<CacheConfig> parse_cache_config(const Json& json);
// The same from a .yaml, .yml or .json file.
Result<CacheConfig> load_cache_config(const std::string& path);

}  // namespace cairn::diffusion
