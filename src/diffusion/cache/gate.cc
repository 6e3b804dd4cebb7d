#include "diffusion/cache/gate.h"

#include <algorithm>

namespace cairn::diffusion {

Gate::Gate(const CacheConfig& config) : config_(&config), warmup_(config.warmup), threshold_(config.threshold) {
  if (config.mask) {
    const auto zero = std::ranges::find(*config.mask, int64_t{0});
    warmup_ = std::min<int64_t>(warmup_, zero - config.mask->begin());
  }
  if (config.l1_threshold && !config.prune()) threshold_ = *config.l1_threshold;
}

Verdict Gate::verdict(int64_t s) {
  if (s < warmup_ && s % config_->warmup_interval == 0) return Verdict::kCompute;
  if (config_->mask) {
    // Steps past the end of the mask count as zeros.
    if (s < static_cast<int64_t>(config_->mask->size()) && (*config_->mask)[static_cast<size_t>(s)] == 1)
      return Verdict::kCompute;
    if (config_->fixed_mask()) return Verdict::kReuse;
  }
  if (config_->max_cached >= 0 && cached_ >= config_->max_cached) return Verdict::kCompute;
  if (config_->max_continuous >= 0 && run_ >= config_->max_continuous) {
    if (config_->compat) run_ = 0;
    return Verdict::kCompute;
  }
  const double most = config_->prune() ? 0 : config_->max_accumulated.value_or(0);
  if (most > 0 && drift_ >= most) return Verdict::kCompute;
  return threshold_ > 0 ? Verdict::kMeasure : Verdict::kCompute;
}

void Gate::measured(double change) {
  if (change > 0) drift_ += change;
}

void Gate::reused(int64_t s) {
  // cache-dit before 1.5.3 resets the count only when it reaches the limit, starts the next run at 0 and makes up for
  // that with a 2 (so a limit of 1 gives 1 0 0 1 0 0).
  if (!config_->compat)
    ++run_;
  else if (last_ < 0)
    run_ += 1;
  else if (s - last_ == 1)
    run_ += run_ == 0 ? 2 : 1;
  last_ = s;
  ++cached_;
}

void Gate::computed() {
  if (config_->compat) return;  // there neither the count nor the sum of changes starts again
  run_ = 0;
  drift_ = 0;
}

void Gate::refresh() {
  run_ = 0;
  drift_ = 0;
  last_ = -1;
  if (config_->compat) cached_ = 0;
}

}  // namespace cairn::diffusion
