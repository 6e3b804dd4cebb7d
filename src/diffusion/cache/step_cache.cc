#include "diffusion/cache/step_cache.h"

#include <algorithm>

#include "base/strings.h"
#include "diffusion/cache/branch_cache.h"

namespace cairn::diffusion {

Streams StepCache::run(const StepInfo& step, const Streams& in, int64_t depth, const Blocks& blocks) {
  Walk walk = this->walk(step, in, depth);
  while (!walk.done()) {
    const Range range = walk.wanted();
    walk.advance(blocks(walk.streams(), range), range.last);
  }
  return walk.result();
}

Walk NoCache::walk(const StepInfo&, Streams in, int64_t depth) {
  co_return co_await Walk::Ask(std::move(in), {0, depth});
}

// A block stack: its configuration with overrides, and the caches of both branches, which refer to the rest of it.
struct RequestCache::Entry {
  explicit Entry(StackStats s) : stats(std::move(s)) {
    main = make_branch_cache(stats.config, stats.main, stats.cfg, Branch::kMain);
    cfg = make_branch_cache(stats.config, stats.cfg, stats.main, Branch::kCfg);
  }

  StackStats stats;
  std::unique_ptr<StepCache> main, cfg;
};

namespace {

Result<void> check_all(const CacheConfig& config) {
  TRY_VOID(config.validate());
  if (const auto* stacks = config.stacks.as_object())
    for (const auto& [name, keys] : *stacks) TRY_VOID(config.stack(name));
  return {};
}

}  // namespace

RequestCache::RequestCache() { config_.type = "NONE"; }

RequestCache::RequestCache(CacheConfig config) : config_(std::move(config)) { or_throw(check_all(config_)); }

RequestCache::~RequestCache() = default;

Result<void> RequestCache::fits(const std::vector<StackShape>& stacks) const {
  std::vector<std::string> names;
  for (const auto& s : stacks) {
    names.push_back(s.name);
    TRY_VOID(check_depth(TRY(config_.stack(s.name)), s.name, s.depth));
  }
  if (const auto* own = config_.stacks.as_object())
    for (const auto& [name, keys] : *own)
      if (std::ranges::find(names, name) == names.end())
        return invalid("stacks." + name + ": the model's block stacks are " + join(names, ", ") +
                       did_you_mean(name, names));
  return {};
}

StepCache& RequestCache::stack(std::string_view name, Branch branch) {
  auto found = std::ranges::find_if(entries_, [&](const auto& e) { return e->stats.name == name; });
  if (found == entries_.end()) {
    entries_.push_back(std::make_unique<Entry>(StackStats{std::string(name), or_throw(config_.stack(name)), {}, {}}));
    found = entries_.end() - 1;
  }
  return branch == Branch::kMain ? *(*found)->main : *(*found)->cfg;
}

Result<void> RequestCache::refresh(CacheConfig config) {
  TRY_VOID(check_all(config));
  config_ = std::move(config);
  entries_.clear();
  return {};
}

CacheStats RequestCache::stats() const {
  CacheStats out;
  for (const auto& e : entries_) out.stacks.push_back(e->stats);
  return out;
}

// Otherwise a branch reads nothing of the other but the change at the same block, which a member of a batch that comes
// first has measured by then. A stack's own keys may ask for compat, too.
bool RequestCache::in_turn() const { return config_.compat || config_.stacks.as_object(); }

bool RequestCache::skipped() const {
  return std::ranges::any_of(entries_, [](const auto& e) { return e->stats.main.trace.ends_with('0'); });
}

}  // namespace cairn::diffusion
