#include "diffusion/cache/mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/strings.h"

namespace cairn::diffusion {
namespace {

constexpr int64_t kBase = 28;  // the length that the long masks were made for
constexpr int64_t kLongest = 10000;

// Lengths of alternating runs: computed, cached, computed …
struct Bins {
  std::vector<int64_t> compute, cached;

  int64_t total() const {
    return std::reduce(compute.begin(), compute.end()) + std::reduce(cached.begin(), cached.end());
  }
};

const std::vector<std::string> kPolicies = {"slow", "medium", "fast", "ultra"};
using Family = std::array<Bins, 4>;

const Family kLong = {Bins{{8, 3, 3, 2, 1, 1}, {1, 2, 2, 2, 3}}, Bins{{6, 2, 2, 2, 2, 1}, {1, 3, 3, 3, 3}},
                      Bins{{6, 1, 1, 1, 1, 1}, {1, 3, 4, 5, 4}}, Bins{{4, 1, 1, 1, 1}, {2, 5, 6, 7}}};
const Family kShort = {Bins{{4, 2, 2, 2, 1}, {1, 1, 1, 1}}, Bins{{4, 2, 1, 1, 1}, {1, 1, 2, 2}},
                       Bins{{3, 1, 1, 1, 1}, {1, 2, 2, 3}}, Bins{{2, 1, 1, 1, 1}, {1, 2, 3, 3}}};
const Family kNine = {Bins{{5, 2, 1}, {1}}, Bins{{5, 1, 1}, {1, 1}}, Bins{{4, 1, 1}, {1, 2}}, Bins{{3, 1, 1}, {2, 2}}};
const Family kEight = {Bins{{5, 1, 1}, {1}}, Bins{{4, 1, 1}, {1, 1}}, Bins{{3, 1, 1}, {1, 2}}, Bins{{2, 1, 1}, {2, 2}}};

void shorten(std::vector<int64_t>& bins) {
  if (!bins.empty() && --bins.back() == 0) bins.pop_back();
}

// Takes one step from the end of either list in turn, zeros first.
void cut(Bins& b, int64_t steps) {
  while (b.total() > steps) {
    shorten(b.cached);
    if (b.total() > steps) shorten(b.compute);
  }
}

// Lengthens every pair of runs by about half of its share, over and over, until they cover the steps.
void stretch(Bins& b, int64_t steps) {
  const Bins start = b;
  const double by = static_cast<double>(steps) / kBase * 0.5;
  const auto grow = [&](int64_t& bin, int64_t from) {
    bin += std::max(static_cast<int64_t>(static_cast<double>(from) * by), int64_t{1});
    return b.total() >= steps;
  };
  while (b.total() < steps) {
    for (size_t i = 0; i < start.cached.size(); ++i)
      if (grow(b.compute[i], start.compute[i]) || grow(b.cached[i], start.cached[i])) return;
    ++b.compute.back();
  }
}

Mask expand(const Bins& b, int64_t steps) {
  Mask mask;
  for (size_t i = 0; i < std::max(b.compute.size(), b.cached.size()); ++i) {
    if (i < b.compute.size()) mask.insert(mask.end(), static_cast<size_t>(b.compute[i]), 1);
    if (i < b.cached.size()) mask.insert(mask.end(), static_cast<size_t>(b.cached[i]), 0);
  }
  mask.resize(static_cast<size_t>(steps));
  return mask;
}

}  // namespace

Result<Mask> named_mask(std::string_view policy, int64_t steps) {
  const auto found = std::ranges::find_if(
      kPolicies, [&](const std::string& p) { return p == policy || (policy.size() == 1 && p[0] == policy[0]); });
  if (found == kPolicies.end())
    return invalid(fmt::format("unknown steps mask \"{}\": use slow, medium, fast or ultra{}", policy,
                               did_you_mean(policy, kPolicies)));
  if (steps > kLongest) return invalid(fmt::format("a steps mask has at most {} steps, not {}", kLongest, steps));
  if (steps < 8 && steps != 4 && steps != 6)
    return invalid(
        fmt::format("there is no named steps mask for {} steps: use 4, 6, 8 or more, or give a list", steps));

  const auto which = static_cast<size_t>(found - kPolicies.begin());
  Bins bins;
  if (steps == 4)
    bins = {{2, 1}, {1}};
  else if (steps == 6)
    bins = {{3, 1}, {2}};
  else
    bins = (steps == 8 ? kEight : steps == 9 ? kNine : steps < 16 ? kShort : kLong)[which];
  if (steps > kBase) stretch(bins, steps);
  cut(bins, steps);
  Mask mask = expand(bins, steps);
  mask.back() = 1;  // the last step always shows
  return mask;
}

Result<Mask> binned_mask(const std::vector<int64_t>& compute, const std::vector<int64_t>& cached, int64_t steps) {
  for (const auto* list : {&compute, &cached})
    for (int64_t n : *list)
      if (n < 0 || n > kLongest)
        return invalid(fmt::format("a run of a steps mask has 0 to {} steps, not {}", kLongest, n));
  const Bins bins{compute, cached};
  if (bins.total() < std::max<int64_t>(steps, 1) || bins.total() > kLongest)
    return invalid(fmt::format("the runs of the steps mask cover {} steps of {}", bins.total(), steps));
  return expand(bins, steps > 0 ? steps : bins.total());
}

}  // namespace cairn::diffusion
