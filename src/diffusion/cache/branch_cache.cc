#include "diffusion/cache/branch_cache.h"

#include <fmt/format.h>

#include <cmath>

#include "ops/cache.h"

namespace cairn::diffusion {
namespace {

// Where diffs say why nothing was measured, as cache-dit does.
constexpr double kAlways = -1, kOtherShape = -2;

bool comparable(const Tensor& anchor, const Tensor& after, int64_t stride) {
  auto sizes = after.sizes().vec();
  sizes.back() = (sizes.back() + stride - 1) / stride;
  return anchor.sizes() == at::IntArrayRef(sizes);
}

}  // namespace

Result<void> check_depth(const CacheConfig& config, const std::string& stack, int64_t depth) {
  if (config.off() || config.front + config.back <= depth) return {};
  return invalid(fmt::format("Fn_compute_blocks {} and Bn_compute_blocks {} exceed the {} blocks of {}: lower them",
                             config.front, config.back, depth, stack.empty() ? "the model" : stack));
}

Walk BranchCache::walk(const StepInfo& info, Streams in, int64_t depth) {
  start(info);
  if (depth != depth_) or_throw(check_depth(config_, "", depth));
  depth_ = depth;
  booked_ = false;
  return step(std::move(in), depth);
}

void BranchCache::finish(bool skipped) {
  stats_.trace += skipped ? '0' : '1';
  if (!skipped)
    gate_.computed();
  else if (!booked_)
    book_reuse();
}

void BranchCache::start(const StepInfo& info) {
  check(info.index >= 0 && (info.total == 0 || info.index < info.total), "a step lies outside of its request");
  if (info.index <= index_) {
    gate_ = Gate(config_);
    stats_ = {};
    period_ = 0;
    forget();
  }
  index_ = local_ = info.index;
  if (!config_.refresh_hint) return;
  // cache-dit counts forward passes, of which a step with a guidance branch has two.
  int64_t every = *config_.refresh_hint;
  if (config_.compat && config_.separate_cfg.value_or(false)) every = std::max<int64_t>(1, every / 2);
  int64_t period = index_ / every;
  if (config_.refresh_policy == "once") period = std::min<int64_t>(period, 1);
  local_ = index_ - period * every;
  if (period == period_) return;
  period_ = period;
  gate_.refresh();
  forget();
  if (config_.compat) {
    stats_.cached_steps.clear();
    stats_.diffs.clear();
  }
}

void BranchCache::book_reuse() {
  if (booked_) return;
  booked_ = true;
  gate_.reused(local_);
  stats_.cached_steps.push_back(key());
  ++stats_.cached;
}

bool BranchCache::similar(const Tensor& after, const Tensor& before, const Tensor& anchor, double threshold,
                          const double* shared) {
  auto& diffs = stats_.diffs[key()];
  if (threshold >= 1) return diffs.push_back(kAlways), true;
  if (!comparable(anchor, after, stride_)) return diffs.push_back(kOtherShape), false;
  double change = 0;
  if (shared) {
    change = *shared;
  } else {
    const auto sums = ops::change(after, before, anchor, stride_, config_.important);
    change = sums.difference / sums.magnitude;
  }
  // An anchor of zeros tells nothing: compute.
  if (!std::isfinite(change)) return false;
  diffs.push_back(change);
  gate_.measured(change);
  return change < threshold;
}

std::unique_ptr<StepCache> make_branch_cache(const CacheConfig& config, BranchStats& stats, const BranchStats& other,
                                             Branch branch) {
  if (config.off()) return std::make_unique<NoCache>();
  return config.prune() ? make_db_prune(config, stats, other, branch) : make_db_cache(config, stats, other, branch);
}

}  // namespace cairn::diffusion
