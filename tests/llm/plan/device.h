// A device without numbers: what it keeps for a position is a hash of all tokens up to there, computed from what it
// finds for the position before. So a block that is shared wrongly, given away too early or not written at all shows as
// a token that differs from what the sequence gives alone.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "llm/plan/invariants.h"

namespace cairn::llm {

inline uint64_t extended(uint64_t past, Token token) {
  uint64_t h = (past ^ static_cast<uint64_t>(token)) * 0x9e3779b97f4a7c15;
  h ^= h >> 29;
  return h * 0xbf58476d1ce4e5b9;
}
inline Token next_token(uint64_t state) { return static_cast<Token>(1 + (state >> 32) % 1000); }

using Stops = std::function<bool(RequestId, Token)>;

// What a request gives when nothing else exists.
inline std::vector<Token> alone(const std::vector<Token>& prompt, int64_t max_new,
                                const std::function<bool(Token)>& stops) {
  uint64_t state = 0;
  for (const Token t : prompt) state = extended(state, t);
  std::vector<Token> out;
  while (static_cast<int64_t>(out.size()) < max_new) {
    out.push_back(next_token(state));
    if (stops(out.back())) break;
    state = extended(state, out.back());
  }
  return out;
}

class Device {
 public:
  explicit Device(const kv::BlockPool& pool)
      : size_(static_cast<size_t>(pool.block_size())), cells_(static_cast<size_t>(pool.size()) * size_, 1) {}

  // `accept`: how many of a row's proposed tokens turn out right.
  StepResult run(const StepPlan& plan, const Stops& stops, const std::function<int64_t(int64_t)>& accept = {}) {
    StepResult out;
    for (const PlanRow& row : plan.rows) {
      const auto inputs = plan.inputs(row);
      const auto table = plan.table(row);
      uint64_t state = row.from ? cell(table, row.from - 1) : 0;
      const auto feed = [&](int64_t position, Token token) {
        state = extended(state, token);
        cell(table, position) = state;
      };
      for (int64_t p = row.from; p < row.to; ++p) {
        const Token given = inputs[static_cast<size_t>(p - row.from)];
        feed(p, given == kLastSampled ? last_.at(row.slot) : given);
      }
      std::vector<Token> sampled;
      if (row.sample) {
        sampled.push_back(next_token(state));
        const int64_t more = accept && row.drafts ? accept(row.drafts) : 0;
        for (int64_t i = 0; i < more && !stops(row.id, sampled.back()); ++i) {
          feed(row.to + i, sampled.back());
          sampled.push_back(next_token(state));
        }
        last_[row.slot] = sampled.back();
      }
      out.add(sampled, row.sample && stops(row.id, sampled.back()));
    }
    return out;
  }

 private:
  uint64_t& cell(std::span<const BlockId> table, int64_t position) {
    const auto at = static_cast<size_t>(position);
    return cells_.at(static_cast<size_t>(table[at / size_]) * size_ + at % size_);
  }
  size_t size_;
  std::vector<uint64_t> cells_;
  std::map<int32_t, Token> last_;  // by slot
};

inline std::vector<std::string> faults(const Scheduler& s) { return invariants(s.snapshot()); }

}  // namespace cairn::llm
