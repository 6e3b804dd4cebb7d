// Decisions for scripted changes: the vectors measured on cache-dit 1.5.0, with compat where they hold a defect, and
// what Cairn does instead.
#include <gmock/gmock.h>

#include "cache_toy.h"
#include "ops/cache.h"

namespace cairn::diffusion {
namespace {

const std::string kFast = R"("steps_computation_mask": "fast", "num_inference_steps": 28)";

CacheConfig config(const std::string& keys, bool compat) {
  return or_throw(
      parse_cache_config(or_throw(Json::parse("{" + keys + R"(, "compat": )" + (compat ? "true}" : "false}")))));
}

enum Mode { kBoth, kCompat, kSound };

struct Vector {
  std::string keys, trace;
  Mode mode = kBoth;
  double change = 0.0101;  // a little above 0.01, so that five add up to more than 0.05
  int64_t high = -1;       // the one step that changes a lot
};

const std::vector<Vector> kVectors = {
    {R"("max_warmup_steps": 8)", "1111111100000000000000000000"},
    {R"("max_warmup_steps": 4, "max_continuous_cached_steps": 1)", "1111010010010010010010010010", kCompat},
    {R"("max_warmup_steps": 4, "max_continuous_cached_steps": 1)", "1111010101010101010101010101", kSound},
    {R"("max_warmup_steps": 4, "max_continuous_cached_steps": 2)", "1111001001001001001001001001"},
    {R"("max_warmup_steps": 4, "max_continuous_cached_steps": 3)", "1111000100010001000100010001"},
    {R"("max_warmup_steps": 4, "max_continuous_cached_steps": 4)", "1111000010000100001000010000"},
    {R"("max_warmup_steps": 4, "max_continuous_cached_steps": 0)", "1111111111111111111111111111"},
    {R"("max_continuous_cached_steps": 3)", "1111111100100100010001000100", kCompat, 0.0101, 10},
    {R"("max_continuous_cached_steps": 3)", "1111111100100010001000100010", kSound, 0.0101, 10},
    {R"("max_cached_steps": 8)", "1111111100000000111111111111"},
    {R"("max_cached_steps": 0)", "1111111111111111111111111111"},
    {R"("warmup_interval": 2)", "1010101000000000000000000000"},
    {R"("warmup_interval": 4)", "1000100000000000000000000000"},
    {R"("max_warmup_steps": 0)", "1000000000000000000000000000"},
    {R"("max_accumulated_residual_diff_threshold": 0.05)", "1111111100000111111111111111", kCompat},
    {R"("max_accumulated_residual_diff_threshold": 0.05)", "1111111100000100000100000100", kSound},
    {R"("residual_diff_threshold": 0)", "1111111111111111111111111111"},
    {R"("residual_diff_threshold": -1)", "1111111111111111111111111111"},
    {R"("residual_diff_threshold": 1)", "1111111100000000000000000000", kBoth, 0.9},
    {kFast, "1111110100010000100000100001"},
    {kFast, "1111111111111111111111111111", kBoth, 0.9},
    {kFast + R"(, "steps_computation_policy": "static")", "1111110100010000100000100001", kBoth, 0.9},
    {kFast + R"(, "steps_computation_policy": "static", "max_cached_steps": 1)", "1111110100010000100000100001"},
    {kFast + R"(, "max_continuous_cached_steps": 3)", "1111110100011000110001100011", kCompat},
    {kFast + R"(, "max_continuous_cached_steps": 3)", "1111110100010001100010100011", kSound},
    {kFast + R"(, "steps_computation_policy": "static")", "11111101000100001000001000010000"},  // 28 entries, 32 steps
    {R"("steps_computation_mask": [0, 0, 1, 0], "steps_computation_policy": "static")", "1010"},
    {R"("force_refresh_step_hint": 10, "max_warmup_steps": 3)", "1110000000111000000000000000000000000000"},
    {R"("force_refresh_step_hint": 10, "max_warmup_steps": 3, "force_refresh_step_policy": "repeat")",
     "1110000000111000000011100000001110000000"},
    // The most skipped steps of a request outlast a refresh; cache-dit loses count.
    {R"("force_refresh_step_hint": 10, "max_warmup_steps": 3, "max_cached_steps": 8)", "11100000001110111111", kSound},
    {R"("force_refresh_step_hint": 10, "max_warmup_steps": 3, "max_cached_steps": 8)", "11100000001110000000",
     kCompat}};

TEST(StepCacheDecisions, MeetTheVectors) {
  for (const auto& v : kVectors)
    for (bool compat : {false, true}) {
      if (v.mode == (compat ? kSound : kCompat)) continue;
      const auto change = [&](int64_t i) { return i == v.high ? 0.9 : v.change; };
      EXPECT_EQ(toy::trace(config(v.keys, compat), static_cast<int64_t>(v.trace.size()), change), v.trace)
          << v.keys << compat;
    }
}

TEST(StepCacheDecisions, CompareTheChangeWithTheThreshold) {
  EXPECT_EQ(toy::trace(config(R"("max_warmup_steps": 2)", false), 6, [](int64_t i) { return i % 2 ? 0.079 : 0.081; }),
            "111010");
}

struct TwoBranches {
  RequestCache cache;
  explicit TwoBranches(const CacheConfig& c) : cache(c) {}
  BranchStats main() const { return cache.stats().stacks[0].main; }
  BranchStats cfg() const { return cache.stats().stacks[0].cfg; }

  void steps(int64_t n, double main_change, double cfg_change, bool cfg_first = false) {
    toy::Scripted a(
        cache.stack("b"), [&] { return main(); }, 12, 8),
        b(cache.stack("b", Branch::kCfg), [&] { return cfg(); }, 12, 8);
    for (int64_t i = 0; i < n; ++i)
      for (bool second : {false, true}) {
        if (second != cfg_first)
          b.step({i, n, Branch::kCfg}, cfg_change);
        else
          a.step({i, n}, main_change);
      }
  }
};

TEST(GuidanceBranches, HaveStatesOfTheirOwn) {
  TwoBranches run(config(R"("max_warmup_steps": 4, "enable_separate_cfg": true)", false));
  run.steps(12, 0.01, 0.01);
  EXPECT_EQ(run.main().trace, "111100000000");
  EXPECT_EQ(run.cfg().trace, "111100000000");
  TwoBranches uneven(config(R"("max_warmup_steps": 4)", false));  // told, so separate without being asked for
  uneven.steps(12, 0.01, 0.9);
  EXPECT_EQ(uneven.main().trace, "111100000000");
  EXPECT_EQ(uneven.cfg().trace, "111111111111");
}

TEST(GuidanceBranches, ShareTheFirstOnesChangeWhenAsked) {
  const std::string keys = R"("max_warmup_steps": 4, "enable_separate_cfg": true, "cfg_diff_compute_separate": false)";
  TwoBranches run(config(keys, false));
  run.steps(12, 0.01, 0.9);
  EXPECT_EQ(run.cfg().trace, "111100000000");
  EXPECT_EQ(run.cfg().diffs, run.main().diffs);
  // With the guidance branch first, it is the one that measures. cache-dit shares nothing then.
  for (bool compat : {false, true}) {
    TwoBranches other(config(keys + R"(, "cfg_compute_first": true)", compat));
    other.steps(12, 0.01, 0.9, true);
    EXPECT_EQ(other.cfg().trace, "111111111111");
    EXPECT_EQ(other.main().trace, compat ? "111100000000" : "111111111111");
  }
}

TEST(ForcedRefresh, CountsForwardPassesInCompat) {
  const std::string keys = R"("max_warmup_steps": 2, "force_refresh_step_hint": 8, "enable_separate_cfg": true)";
  TwoBranches compat(config(keys, true)), sound(config(keys, false));
  compat.steps(12, 0.01, 0.01);
  sound.steps(12, 0.01, 0.01);
  EXPECT_EQ(compat.main().trace, "110011000000");
  EXPECT_EQ(compat.cfg().trace, "110011000000");
  EXPECT_EQ(sound.main().trace, "110000001100");
}

TEST(ForcedRefresh, KeepsTheListOfSkippedSteps) {
  for (bool compat : {false, true}) {
    RequestCache cache(
        config(R"("Fn_compute_blocks": 1, "max_warmup_steps": 3, "force_refresh_step_hint": 10)", compat));
    const auto stats = [&] { return cache.stats().stacks[0].main; };
    toy::Scripted run(cache.stack("b"), stats, 3);
    for (int64_t i = 0; i < 40; ++i) run.step({i, 40}, 0.01);
    EXPECT_EQ(stats().cached, 34);
    EXPECT_EQ(stats().cached_steps.size(), compat ? 27u : 34u);
    EXPECT_EQ(stats().cached_steps.back(), compat ? 29 : 39);
    EXPECT_THAT(cache.stats().tag(), testing::EndsWith("_FR10_once_CFG0_T0O0_S34"));
  }
}

TEST(Extras, CompareStreamsDownsampleAndChooseTokens) {
  // The stream after the first blocks is 0.5 + anchor: a change of 0.1 of the anchor is 0.067 of the stream.
  EXPECT_EQ(toy::trace(config(R"("max_warmup_steps": 2, "residual_diff_threshold": 0.09)", false), 4,
                       [](int64_t) { return 0.1; }),
            "1111");
  EXPECT_EQ(toy::trace(config(R"("max_warmup_steps": 2, "l1_hidden_states_diff_threshold": 0.09)", false), 4,
                       [](int64_t) { return 0.1; }),
            "1100");
  for (const char* extra : {R"("downsample_factor": 3)", R"("important_condition_threshold": 0.01)"}) {
    const auto c = config(R"("max_warmup_steps": 2, )" + std::string(extra), false);
    EXPECT_EQ(toy::trace(c, 5, [](int64_t i) { return i == 3 ? 0.5 : 0.05; }), "11010");
  }
}

// DBPrune with five blocks and changes dictated at the operation.
double prune_change = 0;
ops::Change scripted(const Tensor&, const Tensor&, const Tensor&, int64_t, double) { return {prune_change, 1}; }

std::vector<int64_t> pruned(const std::string& keys, bool compat, int64_t steps) {
  ops::change.on(ops::kCPU, scripted);
  RequestCache cache(
      config(R"("cache_type": "DBPrune", "Fn_compute_blocks": 1, "max_warmup_steps": 2, )" + keys, compat));
  for (int64_t i = 0; i < steps; ++i)
    cache.stack("b").run({i, steps}, {toy::filled(1), {}}, 5,
                         [](const Streams& x, Range) { return Streams{x.hidden + 1.0, {}}; });
  ops::change.on(ops::kCPU, nullptr);
  return cache.stats().stacks[0].main.pruned_blocks;
}

TEST(PruneLimits, CountWholeStepsButNotInCompat) {
  prune_change = 0.01;
  using Counts = std::vector<int64_t>;
  EXPECT_EQ(pruned(R"("max_cached_steps": 2)", false, 6), (Counts{0, 0, 4, 4, 0, 0}));
  EXPECT_EQ(pruned(R"("max_cached_steps": 2)", true, 6), (Counts{0, 0, 4, 1, 0, 0}));
  EXPECT_EQ(pruned(R"("max_continuous_cached_steps": 1)", false, 6), (Counts{0, 0, 4, 0, 4, 0}));
  EXPECT_EQ(pruned(R"("Bn_compute_blocks": 1, "non_prune_block_ids": [2, 77])", false, 4), (Counts{0, 0, 2, 2}));
  EXPECT_EQ(pruned(R"("steps_computation_mask": [1, 1, 1, 0], "steps_computation_policy": "static")", false, 4),
            (Counts{0, 0, 0, 4}));
}

}  // namespace
}  // namespace cairn::diffusion
