// What a request's caches did: counts, measured changes, and the short name and tables that cache-dit prints.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "diffusion/cache/config.h"

namespace cairn::diffusion {

struct BranchStats {
  std::string trace;                  // a character per step: 1 computed, 0 skipped (DBPrune: at least one block)
  std::vector<int64_t> cached_steps;  // steps that were skipped
  std::map<int64_t, std::vector<double>>
      diffs;  // by step: relative change; one value, or one per candidate block (DBPrune)
              // -1: threshold of 1 or more, not measured; -2: another shape
  std::vector<int64_t> pruned_blocks, actual_blocks;  // DBPrune: blocks skipped and blocks in all, per step
  int64_t cached = 0;                                 // all skipped steps, also those before a forced refresh

  int64_t pruned() const;
  double pruned_ratio() const;  // of all blocks; 0 before the first step
};

struct StackStats {
  std::string name;
  CacheConfig config;
  BranchStats main, cfg;  // cfg stays empty without a guidance branch
};

struct CacheStats {
  std::vector<StackStats> stacks;

  // cache-dit's strify(): settings, predictor and skipped steps of the last stack; empty without a cache.
  std::string tag() const;
  // Markdown tables, one per stack and branch; details adds the lists of steps and changes.
  std::string summary(bool details = false) const;
};

}  // namespace cairn::diffusion
