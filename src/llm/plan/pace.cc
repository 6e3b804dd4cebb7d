#include "llm/plan/pace.h"

#include <algorithm>

namespace cairn::llm {
namespace {

void approach(double& value, double sample, double share) { value += share * (sample - value); }

}  // namespace

// Fewer answers take at least their part of the time, and more no less.
double Pace::without(int64_t answers) const { return alone_ * std::min(static_cast<double>(answers) / answers_, 1.0); }

void Pace::took(double seconds, int64_t answers, int64_t prompts) {
  told_ = true;
  if (answers == 0 || seconds <= 0) return;  // nobody waited, and prompts alone cost less a token
  if (prompts == 0) {
    const double count = static_cast<double>(answers), part = alone_ > 0 ? without(answers) : 0;
    // A step may be late for reasons of its own, but never early.
    const double share = alone_ <= 0 ? 1 : seconds < part ? 0.5 : 0.1;
    approach(alone_, seconds, share);
    approach(answers_, count, share);
  } else if (alone_ > 0) {
    const double sample = std::max(seconds - without(answers), 0.0) / static_cast<double>(prompts);
    approach(each_, sample, each_ < 0 ? 1 : 0.2);
  }
}

int64_t Pace::beside(int64_t answers, int64_t most) const {
  if (!told_) return most;
  if (alone_ <= 0 || each_ < 0) return std::min(kLeast, most);
  const double room = without(answers);
  if (room >= each_ * static_cast<double>(most)) return most;
  return std::clamp(static_cast<int64_t>(room / each_), std::min(kLeast, most), most);
}

}  // namespace cairn::llm
