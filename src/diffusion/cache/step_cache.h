// Step caches: between two denoising steps most blocks of a diffusion transformer add nearly what they added before.
// A cache runs a model's block stack and skips blocks whose answer it can predict. The model hands it a continuation
// and never asks a cache anything itself:
//
//   RequestCache cache(config);                              // one per request; throws Failure when config is bad
//   TRY_VOID(cache.fits({{"transformer_blocks", 19}}));      // before the first step
//   …
//   const StepInfo step{.index = i, .total = n, .branch = Branch::kMain};
//   Streams out = cache.stack("transformer_blocks", step.branch)
//                     .run(step, {h, e}, 19, [&](const Streams& x, Range r) { … blocks r of x … });
//   …
//   cache.stats().tag();                                     // "DBCache_F8B0_W8I1M0MC0_R0.08_CFG0_T0O0_S12"
//
// All state lives in the RequestCache: requests may be interleaved as one likes. RequestCache{} caches nothing.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion/cache/config.h"
#include "diffusion/cache/stats.h"
#include "diffusion/cache/walk.h"

namespace cairn::diffusion {

// Runs those blocks. Never called with an empty range. The tensors that it returns must not be written to later.
using Blocks = std::function<Streams(const Streams&, Range)>;

enum class Branch { kMain, kCfg };  // kCfg: the pass with the negative prompt

// Where a request is in its denoising: told, never counted. Both branches of one step have the same index.
struct StepInfo {
  int64_t index = 0, total = 0;
  Branch branch = Branch::kMain;
};

class StepCache {
 public:
  virtual ~StepCache() = default;
  // A step through a stack of `depth` blocks. An index that is not above the last one starts a new request. The cache
  // must outlive the walk, and takes one walk at a time.
  virtual Walk walk(const StepInfo& step, Streams in, int64_t depth) = 0;
  // The same in one go: the streams after all blocks.
  Streams run(const StepInfo& step, const Streams& in, int64_t depth, const Blocks& blocks);
};

// Runs all blocks in one call, always.
class NoCache final : public StepCache {
 public:
  Walk walk(const StepInfo& step, Streams in, int64_t depth) override;
};

// A block stack of a model, as its configuration names it.
struct StackShape {
  std::string name;
  int64_t depth = 0;
};

// The caches of one request: one per block stack and branch.
class RequestCache {
 public:
  RequestCache();
  explicit RequestCache(CacheConfig config);
  ~RequestCache();
  RequestCache(const RequestCache&) = delete;
  RequestCache& operator=(const RequestCache&) = delete;

  // Whether the configuration suits a model with these stacks.
  Result<void> fits(const std::vector<StackShape>& stacks) const;
  // The cache of that stack, made at first use; valid until refresh() or the end of this object.
  StepCache& stack(std::string_view name, Branch branch = Branch::kMain);
  // Forgets everything and goes on under another configuration, which is refused when it is bad.
  Result<void> refresh(CacheConfig config);
  CacheStats stats() const;
  // Whether the guidance branch of a step must wait until the main one has ended, instead of walking beside it.
  bool in_turn() const;
  // Whether the last step skipped blocks of any stack in its main branch.
  bool skipped() const;

 private:
  struct Entry;
  CacheConfig config_;
  std::deque<std::unique_ptr<Entry>> entries_;
};

}  // namespace cairn::diffusion
