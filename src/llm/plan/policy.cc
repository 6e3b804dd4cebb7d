#include "llm/plan/policy.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "base/strings.h"

namespace cairn::llm {
namespace {

constexpr std::array<std::pair<const char*, Policy>, 4> kPolicies{
    {{"fcfs", Policy::kFcfs}, {"lpm", Policy::kLpm}, {"dfs-weight", Policy::kDfsWeight}, {"lof", Policy::kLof}}};

// Longest cached prefix first; who waits for another's prefix last.
std::vector<int64_t> prefix_ranks(std::span<const Candidate> waiting) {
  std::vector<int64_t> out;
  std::unordered_set<kv::Hash> leads;
  for (const Candidate& c : waiting) {
    const bool shares = c.lead && c.cached <= kSharedLead && !leads.insert(*c.lead).second;
    out.push_back(shares ? 1 : -c.cached);
  }
  return out;
}

// Whether path a comes before b in a walk of the tree that takes the child with the most waiting requests first, and a
// node's own requests after its children's.
bool walked_before(std::span<const uint64_t> a, std::span<const uint64_t> b,
                   const std::unordered_map<uint64_t, int64_t>& weights) {
  const size_t common = std::min(a.size(), b.size());
  for (size_t i = 0; i < common; ++i) {
    if (a[i] == b[i]) continue;
    const int64_t left = weights.at(a[i]), right = weights.at(b[i]);
    return left != right ? left > right : a[i] < b[i];
  }
  return a.size() > b.size();
}

}  // namespace

Result<Policy> policy_named(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& [known, policy] : kPolicies) {
    if (name == known) return policy;
    names.emplace_back(known);
  }
  return invalid("no schedule policy \"" + std::string(name) + "\": there are " + join(names, ", "));
}

std::vector<size_t> service_order(Policy policy, std::span<const Candidate> waiting) {
  std::vector<size_t> out(waiting.size());
  std::iota(out.begin(), out.end(), size_t{0});
  const auto sort = [&](auto&& before) {
    std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) {
      if (waiting[a].priority != waiting[b].priority) return waiting[a].priority > waiting[b].priority;
      return before(a, b);
    });
  };
  if (policy == Policy::kDfsWeight) {
    std::unordered_map<uint64_t, int64_t> weights;
    for (const Candidate& c : waiting)
      for (const uint64_t node : c.path) ++weights[node];
    sort([&](size_t a, size_t b) { return walked_before(waiting[a].path, waiting[b].path, weights); });
  } else {
    const auto ranks = prefix_ranks(waiting);
    sort([&](size_t a, size_t b) { return ranks[a] < ranks[b]; });
  }
  return out;
}

int64_t prefill_budget(const SchedulerConfig& c, int64_t others, int64_t block_size, const Pace& pace) {
  const int64_t step =
      c.chunked_prefill_size > 0 ? std::min(c.chunked_prefill_size, c.max_prefill_tokens) : c.max_prefill_tokens;
  if (c.mixed_chunk_size <= 0 || others <= 0) return std::max(step - others, std::min(step, block_size));
  const int64_t beside = std::min(step - others, pace.beside(others, c.mixed_chunk_size));
  return std::max(beside, std::min(step, pace.told() ? Pace::kLeast : block_size));
}

int64_t chunk(const SchedulerConfig& c, int64_t remaining, int64_t budget, bool first, int64_t block_size) {
  if (remaining <= budget) return remaining;
  if (c.chunked_prefill_size <= 0) return first ? remaining : 0;
  return budget < block_size ? budget : budget / block_size * block_size;
}

void NewTokenRatio::retracted(int64_t generated, int64_t most, int64_t count) {
  constexpr int64_t kSteps = 20;  // how far ahead memory should last
  if (most > 0) value_ = std::min(static_cast<double>(generated + kSteps * count) / static_cast<double>(most), 1.0);
}

}  // namespace cairn::llm
