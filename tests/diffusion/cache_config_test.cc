#include "diffusion/cache/config.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>

#include "base/yaml.h"
#include "cache_toy.h"

namespace cairn::diffusion {
namespace {

using testing::HasSubstr;

Result<CacheConfig> yaml(const std::string& text) { return parse_cache_config(*parse_yaml(text)); }
std::string refusal(const std::string& text) {
  const auto config = yaml(text);
  return config ? "accepted" : config.error().what;
}

// The shape of cache-dit's sample files: a section, a legacy flat file, and each predictor.
TEST(CacheConfig, ReadsFilesOfCacheDit) {
  const std::string common =
      "max_warmup_steps: 8\nwarmup_interval: 2\nmax_continuous_cached_steps: 2\nFn_compute_blocks: 1\n"
      "Bn_compute_blocks: 0\nresidual_diff_threshold: 0.12\n";
  const auto nested = [](const std::string& flat) {
    std::string out = "cache_config:\n  ";
    for (char c : flat) out += c == '\n' ? "\n  " : std::string(1, c);
    return out;
  };
  for (bool flat : {false, true})
    for (const auto& [keys, tag] : std::vector<std::pair<std::string, std::string>>{
             {"enable_taylorseer: true\ntaylorseer_order: 2\n", "T1O2"},
             {"enable_dmd: true\ndmd_history: 6\ndmd_svd_precision: \"medium\"\n", "DMDH6"},
             {"enable_dmd: true\ndmd_history: 5\ndmd_svd_precision: low\n", "DMDH5l"},
             {"enable_foca: true\n", "FoCa"},
             {"enable_separate_cfg: null\n", "T0O0"}}) {
      const auto config = yaml(flat ? common + keys : nested(common + keys));
      ASSERT_TRUE(config) << config.error().what;
      EXPECT_EQ(config->prediction_tag(), tag);
      EXPECT_EQ(config->tag(false), "DBCache_F1B0_W8I2M0MC2_R0.12_CFG0");
    }
}

TEST(CacheConfig, PredictsTheEncoderAsCacheDitDoesByDefault) {
  EXPECT_FALSE(yaml("enable_taylorseer: true")->prediction().encoder);
  EXPECT_TRUE(yaml("enable_dmd: true")->prediction().encoder);
  EXPECT_FALSE(yaml("{enable_dmd: true, enable_encoder_dmd: false}")->prediction().encoder);
  EXPECT_FALSE(yaml("enable_foca: true")->prediction().encoder);
  EXPECT_TRUE(yaml("{enable_taylorseer: true, taylorseer_cache_type: hidden_states}")->prediction().hidden_states);
  EXPECT_TRUE(yaml("{enable_foca: true, calibrator_cache_type: hidden_states}")->prediction().hidden_states);
}

TEST(CacheConfig, TakesMasksByNameOrAsLists) {
  const auto named =
      yaml("cache_config: {steps_computation_mask: fast, num_inference_steps: 8, steps_computation_policy: static}");
  ASSERT_TRUE(named) << named.error().what;
  EXPECT_EQ(named->tag(false), "DBCache_F8B0_W8I1M0MC0_R0.08_SCM11101001_static_N8_CFG0");
  EXPECT_EQ(*yaml("{steps_computation_mask: f, num_inference_steps: 8}")->mask, *named->mask);
  EXPECT_EQ(yaml("steps_computation_mask: [1, 0, 1]")->mask->size(), 3u);
  EXPECT_THAT(refusal("steps_computation_mask: fast"), HasSubstr("needs num_inference_steps"));
  EXPECT_THAT(refusal("{steps_computation_mask: fats, num_inference_steps: 8}"), HasSubstr("did you mean fast?"));
  EXPECT_THAT(refusal("{steps_computation_mask: fast, num_inference_steps: 5}"),
              HasSubstr("no named steps mask for 5 steps"));
  EXPECT_THAT(refusal("steps_computation_mask: [1, 2]"), HasSubstr("steps_computation_mask[1]"));
  EXPECT_THAT(refusal("steps_computation_mask: []"), HasSubstr("empty"));
  EXPECT_THAT(refusal("{steps_computation_mask: [1, 0], num_inference_steps: 3}"), HasSubstr("2 entries for 3"));
}

TEST(CacheConfig, StacksOverrideKeys) {
  const auto config = yaml(
      "{Fn_compute_blocks: 2, num_inference_steps: 8, enable_foca: true, stacks: {single: "
      "{Fn_compute_blocks: 3, steps_computation_mask: slow, enable_foca: false, enable_dmd: true}}}");
  ASSERT_TRUE(config) << config.error().what;
  const auto own = *config->stack("single"), other = *config->stack("double");
  EXPECT_EQ(own.front, 3);
  EXPECT_EQ(own.mask->size(), 8u);
  EXPECT_EQ(own.prediction().kind, Forecast::kDmd);
  EXPECT_EQ(other.front, 2);
  EXPECT_FALSE(other.mask);
  EXPECT_THAT(refusal("stacks: {single: {Fn_compute_block: 3}}"), HasSubstr("did you mean Fn_compute_blocks?"));
  EXPECT_THAT(refusal("{enable_foca: true, stacks: {single: {enable_dmd: true}}}"), HasSubstr("stacks.single"));
  EXPECT_THAT(refusal("stacks: {single: {stacks: {}}}"), HasSubstr("do not nest"));
  EXPECT_THAT(refusal("stacks: [1]"), HasSubstr("expected an object"));
}

TEST(CacheConfig, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(refusal("cache_config: {Fn_compute_block: 1}"),
              HasSubstr("unknown key cache_config.Fn_compute_block, did you mean Fn_compute_blocks?"));
  EXPECT_THAT(refusal("residual_dif_threshold: 0.1"), HasSubstr("did you mean residual_diff_threshold?"));
  EXPECT_THAT(refusal("{cache_config: {}, cache_confg: {}}"), HasSubstr("unknown key cache_confg"));
  for (const char* later : {"parallelism_config", "quantize_config"}) {
    EXPECT_THAT(refusal(std::string("{cache_config: {}, ") + later + ": {}}"),
                HasSubstr(std::string(later) + " is not yet supported"));
    EXPECT_EQ(yaml(std::string(later) + ": native").error().code, Code::kUnsupported);
  }
  EXPECT_THAT(refusal("cache_type: DBCash"), HasSubstr("did you mean DBCache?"));
  EXPECT_THAT(refusal("{cache_config: {}, attention_backend: native}"), HasSubstr("--attn"));
  EXPECT_THAT(refusal("[1, 2]"), HasSubstr("is an object"));
  EXPECT_THAT(refusal("cache_config:"), HasSubstr("expected an object, got null"));
}

TEST(CacheConfig, RefusesValuesThatMakeNoSense) {
  for (const char* text :
       {"Fn_compute_blocks: 0", "Bn_compute_blocks: -1", "residual_diff_threshold: .nan", "max_warmup_steps: -1",
        "warmup_interval: 0", "max_cached_steps: -2", "downsample_factor: 0", "force_refresh_step_hint: 0",
        "taylorseer_order: 7", "dmd_history: 1", "steps_computation_policy: fixed", "force_refresh_step_policy: never",
        "{enable_dmd: true, enable_foca: true}", "residual_diff_threshold: high",
        "{enable_separate_cfg: true, cfg_compute_first: true}", "non_prune_block_ids: [-1]",
        "{cache_type: DBPrune, cfg_diff_compute_separate: false}",
        "{cache_type: DBPrune, max_accumulated_residual_diff_threshold: 1}"})
    EXPECT_NE(refusal(text), "accepted") << text;
  CacheConfig config;
  EXPECT_TRUE(config.validate());
  config.threshold = HUGE_VAL;
  EXPECT_FALSE(config.validate());
}

TEST(CacheConfig, SurvivesBeingWrittenAndRead) {
  const auto config = *yaml(
      "{cache_type: DBPrune, residual_diff_threshold: 0.3, steps_computation_mask: ultra, num_inference_steps: 20, "
      "non_prune_block_ids: [2, 5], enable_dmd: true, stacks: {a: {Fn_compute_blocks: 2}}}");
  EXPECT_EQ(write(*parse_cache_config(write(config))), write(config));
}

TEST(CacheConfig, LoadsFilesAndNamesThemInErrors) {
  const std::string path = testing::TempDir() + "cairn_cache_config.yaml";
  std::ofstream(path) << "cache_config:\n  Fn_compute_blocks: 3\n";
  EXPECT_EQ(load_cache_config(path)->front, 3);
  std::ofstream(path) << "cache_config:\n  Fn_blocks: 3\n";
  EXPECT_THAT(load_cache_config(path).error().what, HasSubstr(path));
  EXPECT_FALSE(load_cache_config(path + ".missing"));
}

TEST(CacheStats, TagsWriteNumbersAsPythonDoes) {
  for (const auto& [value, text] : std::vector<std::pair<double, std::string>>{{0.08, "0.08"},
                                                                               {1, "1.0"},
                                                                               {0, "0.0"},
                                                                               {1e-5, "1e-05"},
                                                                               {0.0001, "0.0001"},
                                                                               {12.5, "12.5"},
                                                                               {0.1 + 0.2, "0.30000000000000004"}}) {
    CacheConfig config;
    config.threshold = value;
    EXPECT_THAT(config.tag(false), HasSubstr("_R" + text + "_CFG"));
  }
  EXPECT_EQ(CacheStats{}.tag(), "");
}

TEST(CacheStats, SummaryHasTheTablesOfCacheDit) {
  CacheStats stats;
  StackStats s{"blocks", CacheConfig{}, {}, {}};
  s.main.trace = "1100";
  s.main.cached = 2;
  s.main.cached_steps = {2, 3};
  s.main.diffs = {{1, {0.1}}, {2, {0.02}}, {3, {0.0304}}};
  stats.stacks = {s};
  EXPECT_EQ(stats.summary(),
            "\nCache Steps and Residual Diffs: blocks, Executed Steps: 4, Transformer Executed Steps: 4\n\n"
            "| Cache Steps | Diffs P00 | Diffs P25 | Diffs P50 | Diffs P75 | Diffs P95 | Diffs Min | Diffs Max |\n"
            "|-------------|-----------|-----------|-----------|-----------|-----------|-----------|-----------|\n"
            "| 2           | 0.02      | 0.025     | 0.03      | 0.065     | 0.093     | 0.02      | 0.1       |\n");
  EXPECT_THAT(stats.summary(true), HasSubstr("Cache Steps: 2, [2, 3]"));
  stats.stacks[0].config.type = "DBPrune";
  stats.stacks[0].main.pruned_blocks = {0, 0, 3, 2};
  stats.stacks[0].main.actual_blocks = {5, 5, 5, 5};
  EXPECT_THAT(stats.summary(), HasSubstr("Dynamic Block Prune Ratio: 25.0% (5/20)"));
  EXPECT_EQ(stats.tag(), "DBPrune_F8B0_W8I1M0MC0_R0.08_P25.0_T0O0_S2");
  stats.stacks[0].cfg = stats.stacks[0].main;
  EXPECT_THAT(stats.summary(), HasSubstr("CFG Pruned Blocks"));
}

}  // namespace
}  // namespace cairn::diffusion
