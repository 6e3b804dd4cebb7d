// The rules of the scheduler as functions of counters: who goes first, how much a step may do, how much room the
// answers under way will want. Constants and formulas are SGLang's (schedule_policy.py, SchedulePolicy and
// PrefillAdder).
#pragma once
#include <optional>
#include <span>

#include "llm/plan/config.h"
#include "llm/plan/pace.h"
#include "llm/plan/sequence.h"

namespace cairn::llm {

enum class Policy { kFcfs, kLpm, kDfsWeight, kLof };
Result<Policy> policy_named(std::string_view name);

// Beyond so many waiting requests, lpm and dfs-weight serve by arrival: looking all of them up would cost more.
inline constexpr size_t kMostLookedUp = 128;
// Requests that share their first so many tokens with one that waits before them, and have no more than that cached, go
// last: once that one is computed they find its prefix.
inline constexpr int64_t kSharedLead = 32;
// No answer is expected to be longer than this when room is set aside for it.
inline constexpr int64_t kLongestExpected = 4096;

// What the orders look at. `waiting` requests are given in the order of arrival.
struct Candidate {
  int64_t priority = 0, cached = 0;
  std::optional<kv::Hash> lead;
  std::span<const uint64_t> path;  // nodes of the prefix cache, from the root
};
// The indices of `waiting` in the order of service: priority first, then the policy (lpm or dfs-weight), then arrival.
std::vector<size_t> service_order(Policy policy, std::span<const Candidate> waiting);

// How many prompt tokens a step takes that computes `others` tokens of answers. Never nothing, so that answers under
// way cannot starve prompts.
int64_t prefill_budget(const SchedulerConfig& config, int64_t others, int64_t block_size, const Pace& pace = {});
// How many of a prompt's `remaining` tokens fit a budget: whole blocks unless they end the prompt. With chunking off a
// prompt is taken whole or, when it is not the `first` of its step, not at all.
int64_t chunk(const SchedulerConfig& config, int64_t remaining, int64_t budget, bool first, int64_t block_size);

// The part of their remaining answers that running requests are expected to use. Starts high, sinks with every decoding
// step, and is corrected upwards when memory ran out.
class NewTokenRatio {
 public:
  explicit NewTokenRatio(double conservativeness)
      : initial_(std::min(0.7 * conservativeness, 1.0)), least_(initial_ * 0.14), value_(initial_) {}
  double value() const { return value_; }
  void reset() { value_ = initial_; }
  void decoded() { value_ = std::max(value_ - (initial_ - least_) / 600, least_); }
  // After a retraction left `count` requests which have `generated` of their `most` tokens.
  void retracted(int64_t generated, int64_t most, int64_t count);

 private:
  double initial_, least_, value_;
};

}  // namespace cairn::llm
