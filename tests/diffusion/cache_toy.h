// A block stack whose changes a test dictates, and cached.json's records as configurations.
#pragma once
#include <functional>
#include <string>

#include "diffusion/cache/step_cache.h"

namespace cairn::diffusion::toy {

inline Tensor filled(double value, at::IntArrayRef shape = {1, 4, 8}) { return empty(shape, kF32).fill_(value); }

// Runs steps so that a cache measures the given changes: the first blocks add `anchor * (1 + change)`, where anchor is
// what they added at the last computed step.
class Scripted {
 public:
  Scripted(StepCache& cache, std::function<const BranchStats()> stats, int64_t depth, int64_t front = 1)
      : cache_(cache), stats_(std::move(stats)), depth_(depth), front_(front) {}

  void step(const StepInfo& info, double change) {
    // Both directions in turn keep the numbers small; the measured change is the same.
    const double now = anchor_ * (anchor_ > 4 ? 1 - change : 1 + change);
    cache_.run(info, {filled(0.5), Tensor()}, depth_, [&](const Streams& x, Range r) {
      check(r.size() > 0, "an empty range");
      return r.first < front_ ? Streams{filled(0.5 + now), Tensor()} : Streams{x.hidden + 1.0, Tensor()};
    });
    if (stats_().trace.back() == '1') anchor_ = now;
  }

 private:
  StepCache& cache_;
  std::function<const BranchStats()> stats_;
  int64_t depth_, front_;
  double anchor_ = 1;
};

// The trace of one branch over so many steps.
inline std::string trace(const CacheConfig& config, int64_t steps, const std::function<double(int64_t)>& change) {
  RequestCache cache(config);
  const auto stats = [&] { return cache.stats().stacks[0].main; };
  Scripted run(cache.stack("blocks"), stats, config.front + config.back + 1, config.front);
  for (int64_t i = 0; i < steps; ++i) run.step({i, steps}, change(i));
  return stats().trace;
}

// The options of a record of tests/golden/emoji/cached.json in the keys of a file.
inline CacheConfig config_of(const Json& record, bool compat = false) {
  Json keys(Json::Object{});
  for (const auto& [key, value] : *record.find("cache")->as_object()) keys.set(key, value);
  if (const Json* mask = record.find("resolved_mask")) keys.set("steps_computation_mask", *mask);
  if (const Json* c = record.find("calibrator"); c && c->as_object()) {
    const std::string type = c->text("type");
    keys.set("enable_" + type, true);
    const Json* encoder = c->find("enable_encoder_calibrator");  // on by default in cache-dit's Python interface
    keys.set("enable_encoder_" + type, encoder ? *encoder : Json(true));
    for (const auto& [key, value] : *c->as_object())
      if (key == "calibrator_cache_type")
        keys.set(type == "taylorseer" ? "taylorseer_cache_type" : key, value);
      else if (key != "type" && key != "enable_encoder_calibrator")
        keys.set(key, value);
  }
  keys.set("compat", compat);
  return or_throw(parse_cache_config(keys));
}

}  // namespace cairn::diffusion::toy
