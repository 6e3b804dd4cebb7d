// The decisions of cache-dit 1.5.3 on a real model, replayed: every recorded change is fed back in, and the caches must
// skip the same steps and blocks, measure at the same steps, and print the same tags.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "cache_toy.h"
#include "ops/cache.h"

namespace cairn::diffusion {
namespace {

const std::string kGolden = CAIRN_SOURCE_DIR "/tests/golden/emoji/cached.json";
constexpr int64_t kDepth = 11;

// Decisions that differ for a reason: cache-dit never resets the accumulated change; and the recorded version counts
// steps in a row as everybody would, which the one that `compat` repeats did not.
const std::set<std::string> kNeedsCompat = {"acc0.3", "acc1"}, kNeedsSound = {"mc1"};

using Diffs = std::map<int64_t, std::vector<double>>;

Diffs diffs_of(const Json& record, std::string_view key) {
  Diffs out;
  if (const Json* all = record.find("stats")->find(key))
    for (const auto& [step, value] : *all->as_object()) {
      auto& list = out[std::stoll(step)];
      if (const auto* several = value.as_array())
        for (const auto& v : *several) list.push_back(v.number());
      else
        list.push_back(value.number());
    }
  return out;
}

std::vector<int64_t> ints(const Json& record, std::string_view key) {
  std::vector<int64_t> out;
  if (const Json* all = record.find("stats")->find(key))
    for (const auto& v : *all->as_array()) out.push_back(*v.as_int());
  return out;
}

int64_t steps_of(const Json& record) {
  const Json* steps = record.find("steps");
  return steps ? *steps->as_int() : 28;
}

std::vector<int64_t> keys(const Diffs& diffs) {
  std::vector<int64_t> out;
  for (const auto& [step, list] : diffs) out.push_back(step);
  return out;
}

void expect_near(const Diffs& got, const Diffs& want) {
  EXPECT_EQ(keys(got), keys(want));
  for (const auto& [step, list] : want) {
    const auto found = got.find(step);
    if (found == got.end()) continue;
    for (size_t i = 0; i < list.size(); ++i) EXPECT_NEAR(found->second.at(i), list[i], 1e-5) << "step " << step;
  }
}

void replay(const Json& record, bool compat) {
  SCOPED_TRACE(record.text("dtype") + " " + record.text("name") + (compat ? " compat" : ""));
  const auto config = toy::config_of(record, compat);
  RequestCache cache(config);
  const auto main = [&] { return cache.stats().stacks[0].main; };
  const auto cfg = [&] { return cache.stats().stacks[0].cfg; };
  const bool two = config.separate_cfg.value_or(false);
  const auto want = diffs_of(record, "diffs"), want_cfg = diffs_of(record, "cfg_diffs");
  const auto at = [](const Diffs& d, int64_t i) { return d.contains(i) ? d.at(i)[0] : 0.0; };
  toy::Scripted first(cache.stack("b"), main, kDepth, config.front),
      second(cache.stack("b", Branch::kCfg), cfg, kDepth, config.front);
  const int64_t steps = steps_of(record);
  for (int64_t i = 0; i < steps; ++i) {
    first.step({i, steps}, at(want, i));
    if (two) second.step({i, steps, Branch::kCfg}, at(want_cfg, i));
  }
  EXPECT_EQ(main().trace, record.text("trace"));
  EXPECT_EQ(main().cached_steps, ints(record, "cached_steps"));
  EXPECT_EQ(cfg().cached_steps, ints(record, "cfg_cached_steps"));
  expect_near(main().diffs, want);
  expect_near(cfg().diffs, want_cfg);
  EXPECT_EQ(cache.stats().tag(), record.text("tag"));
}

// DBPrune's blocks feed each other, so its changes are dictated at the operation that measures them.
Diffs script;
int64_t script_step = 0;
size_t script_next = 0;
ops::Change scripted(const Tensor&, const Tensor&, const Tensor&, int64_t, double) {
  return {script.at(script_step).at(script_next++), 1};
}

void replay_prune(const Json& record, bool compat) {
  SCOPED_TRACE(record.text("name") + (compat ? " compat" : ""));
  script = diffs_of(record, "diffs");
  ops::change.on(ops::kCPU, scripted);
  RequestCache cache(toy::config_of(record, compat));
  const int64_t steps = steps_of(record);
  for (int64_t i = 0; i < steps; ++i) {
    script_step = i;
    script_next = 0;
    cache.stack("b").run({i, steps}, {toy::filled(1), {}}, kDepth,
                         [](const Streams& x, Range) { return Streams{x.hidden + 1.0, {}}; });
    EXPECT_EQ(script_next, script.contains(i) ? script.at(i).size() : 0u);
  }
  ops::change.on(ops::kCPU, nullptr);
  const auto s = cache.stats().stacks[0].main;
  EXPECT_EQ(s.pruned_blocks, ints(record, "pruned_blocks"));
  EXPECT_EQ(s.actual_blocks, ints(record, "actual_blocks"));
  EXPECT_EQ(s.cached_steps, ints(record, "pruned_steps"));
  EXPECT_DOUBLE_EQ(s.pruned_ratio(), record.find("stats")->find("pruned_ratio")->number());
  EXPECT_EQ(s.diffs, script);
  EXPECT_EQ(cache.stats().tag(), record.text("tag"));
}

TEST(RecordedTraces, AreMetFromTheirOwnChanges) {
  const auto records = Json::read(kGolden);
  ASSERT_TRUE(records) << records.error().what;
  ASSERT_EQ(records->as_array()->size(), 70u);
  for (const auto& record : *records->as_array()) {
    const std::string name = record.text("name");
    if (record.find("cache")->text("cache_type") == "DBPrune") {
      replay_prune(record, false);
      replay_prune(record, true);
    } else {
      if (!kNeedsCompat.contains(name)) replay(record, false);
      if (!kNeedsSound.contains(name)) replay(record, true);
    }
  }
}

TEST(RecordedTraces, OfAccumulatedChangesDifferWithoutTheDefect) {
  const auto records = Json::read(kGolden);
  for (const auto& record : *records->as_array())
    if (kNeedsCompat.contains(record.text("name"))) {
      const auto want = diffs_of(record, "diffs");
      const auto trace =
          toy::trace(toy::config_of(record), 28, [&](int64_t i) { return want.contains(i) ? want.at(i)[0] : 0.05; });
      EXPECT_NE(trace, record.text("trace"));
      EXPECT_THAT(trace.substr(14), testing::HasSubstr("0")) << "the sum starts again at a computed step";
    }
}

}  // namespace
}  // namespace cairn::diffusion
