#include "diffusion/cache/stats.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "diffusion/cache/text.h"

namespace cairn::diffusion {
namespace {

int64_t sum(const std::vector<int64_t>& v) { return std::accumulate(v.begin(), v.end(), int64_t{0}); }

// Linear interpolation between the nearest ranks, as numpy does. `v` is sorted and not empty.
double percentile(const std::vector<double>& v, double percent) {
  const double at = percent / 100 * static_cast<double>(v.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, v.size() - 1);
  return v[low] + (at - static_cast<double>(low)) * (v[high] - v[low]);
}

void table(std::string& out, const char* what, int64_t count, const BranchStats& s) {
  std::vector<double> diffs;
  for (const auto& [step, list] : s.diffs) diffs.insert(diffs.end(), list.begin(), list.end());
  std::ranges::sort(diffs);
  const size_t width = std::max<size_t>(std::string_view(what).size(), 11);
  out += fmt::format("| {:<{}} |", what, width);
  for (const char* head : {"P00", "P25", "P50", "P75", "P95", "Min", "Max"}) out += fmt::format(" Diffs {} |", head);
  out += fmt::format("\n|{:-<{}}|", "", width + 2);
  for (int i = 0; i < 7; ++i) out += "-----------|";
  out += fmt::format("\n| {:<{}} |", count, width);
  for (double p : {0.0, 25.0, 50.0, 75.0, 95.0, 0.0, 100.0})
    out += fmt::format(" {:<9} |", diffs.empty() ? "-" : python_round(percentile(diffs, p), 3));
  out += "\n";
}

void branch(std::string& out, const StackStats& stack, const BranchStats& s, const char* prefix, int64_t passes,
            bool details) {
  if (s.trace.empty()) return;
  const bool prune = stack.config.prune();
  out += fmt::format("\n{}{}: {}, Executed Steps: {}, Transformer Executed Steps: {}\n\n", prefix,
                     prune ? "Pruned Blocks and Residual Diffs" : "Cache Steps and Residual Diffs", stack.name,
                     s.trace.size(), passes);
  table(out, (prefix + std::string(prune ? "Pruned Blocks" : "Cache Steps")).c_str(), prune ? s.pruned() : s.cached, s);
  if (prune)
    out += fmt::format("\n{}Dynamic Block Prune Ratio: {}% ({}/{})\n", prefix, python_round(s.pruned_ratio() * 100, 2),
                       s.pruned(), sum(s.actual_blocks));
  if (!details) return;
  if (prune)
    out += fmt::format("\n{}Pruned Blocks: {}, {}\n", prefix, s.pruned_blocks.size(), s.pruned_blocks);
  else
    out += fmt::format("\n{}Cache Steps: {}, {}\n", prefix, s.cached, s.cached_steps);
  out += fmt::format("{}Residual Diffs: {}", prefix, s.diffs.size());
  for (const auto& [step, list] : s.diffs) {
    out += fmt::format(", {}:", step);
    for (double d : list) out += " " + python_round(d, 6);
  }
  out += "\n";
}

}  // namespace

int64_t BranchStats::pruned() const { return sum(pruned_blocks); }

double BranchStats::pruned_ratio() const {
  const int64_t all = sum(actual_blocks);
  return all ? static_cast<double>(pruned()) / static_cast<double>(all) : 0;
}

std::string CacheStats::tag() const {
  if (stacks.empty() || stacks.back().config.off()) return "";
  const StackStats& s = stacks.back();
  std::string out = s.config.tag(!s.cfg.trace.empty());
  if (s.config.prune()) out += "_P" + python_round(s.main.pruned_ratio() * 100, 2);
  out += "_" + s.config.prediction_tag();
  if (s.main.cached > 0) out += fmt::format("_S{}", s.main.cached);
  return out;
}

std::string CacheStats::summary(bool details) const {
  std::string out;
  for (const auto& s : stacks) {
    if (s.config.off()) continue;
    const auto passes = static_cast<int64_t>(s.main.trace.size() + s.cfg.trace.size());
    branch(out, s, s.main, "", passes, details);
    branch(out, s, s.cfg, "CFG ", passes, details);
  }
  return out;
}

}  // namespace cairn::diffusion
