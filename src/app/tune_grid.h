// The cache configurations that `cairn tune` tries.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "diffusion/cache/config.h"

namespace cairn::app {

// A configuration: what people call it, its keys as a configuration file has them, and what they mean.
struct Candidate {
  std::string name, predictor;  // "F1B0 R0.12 MC3 TaylorSeer1", "TaylorSeer1"
  Json keys;
  diffusion::CacheConfig config;
};

// Step masks, then thresholds, every one with every predictor, the likely ones first. For requests of `steps` steps on
// a model whose block stack is `depth` deep. Every candidate is valid for them. `quick`: about a tenth.
std::vector<Candidate> cache_grid(int64_t steps, int64_t depth, bool quick);

}  // namespace cairn::app
