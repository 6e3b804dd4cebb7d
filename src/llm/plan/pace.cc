#include "llm/plan/pace.h"

#include <algorithm>
#include <cmath>

namespace cairn::llm {

void Pace::took(double seconds, int64_t answers, int64_t prompts) {
  told_ = true;
  if (answers == 0 || seconds <= 0) return;  // nobody waited, and long prompts cost less a token
  const auto tokens = static_cast<double>(answers + prompts);
  const double share = std::max(1 / static_cast<double>(++steps_), 0.05);
  const double dx = tokens - tokens_, dy = seconds - seconds_;
  tokens_ += share * dx;
  seconds_ += share * dy;
  if (std::abs(dx) < 0.5) return;  // of the usual size: it says nothing of what tokens cost
  variance_ = (1 - share) * (variance_ + share * dx * dx);
  covariance_ = (1 - share) * (covariance_ + share * dx * dy);
}

int64_t Pace::beside(int64_t others, int64_t least, int64_t most) const {
  if (!told_ || least >= most) return most;
  if (variance_ <= 0) return least;  // there were steps of one size only
  const double each = covariance_ / variance_;
  if (each <= 0) return most;  // more tokens do not cost more
  const double without = seconds_ + each * (static_cast<double>(others) - tokens_);
  const double room = std::clamp((kLongest - 1) * without / each, 0.0, static_cast<double>(most));
  return std::max(static_cast<int64_t>(room), least);
}

}  // namespace cairn::llm
