// What one step computes, as plain data: built by Scheduler::plan(), run by a Runner, given back to commit() or
// dropped.
#pragma once
#include <span>
#include <vector>

#include "llm/plan/sequence.h"

namespace cairn::llm {

class Scheduler;

// Stands in StepPlan::tokens for the token that the step before samples for this sequence. It is not known on the host
// while that step runs; the runner keeps it on the device, by slot.
inline constexpr Token kLastSampled = -1;

// One sequence's part of a step: the keys and values of positions [from, to), seeing all positions before.
struct PlanRow {
  RequestId id = 0;
  int64_t from = 0, to = 0;
  int64_t first_token = 0;              // where its to - from input ids begin in StepPlan::tokens
  int64_t first_block = 0, blocks = 0;  // its block table in StepPlan::tables
  int64_t drafts = 0;  // positions after `to` that have blocks too, for tokens that speculation proposes
  int64_t fresh = 0;   // the last so many blocks of the table are reserved by this plan
  int32_t slot = 0;
  bool sample = false;  // the hidden state of position to - 1 gives a token
  bool prefill = false;
  uint32_t epoch = 0;
};

// What a runner answers, row by row. A row that samples has one token, or up to 1 + drafts where proposed ones were
// accepted; its last token's keys and values are not computed yet.
struct StepResult {
  struct Row {
    int32_t count = 0;
    bool stop = false;  // the last of them ends the answer (an end token, a stop string)
  };
  std::vector<Row> rows;
  std::vector<Token> tokens;

  void add(std::span<const Token> sampled, bool stop = false) {
    rows.push_back({static_cast<int32_t>(sampled.size()), stop});
    tokens.insert(tokens.end(), sampled.begin(), sampled.end());
  }
};

// Owns the blocks that it reserved. Dropping it returns them and takes its sequences back to where they were before it;
// the device must have finished with it by then. A plan must not outlive its scheduler.
class StepPlan {
 public:
  StepPlan() = default;
  StepPlan(StepPlan&& other) noexcept;
  StepPlan& operator=(StepPlan&& other) noexcept;
  ~StepPlan();

  // Nothing to do now: submit a request, or commit the plan under way.
  bool empty() const { return rows.empty(); }
  std::span<const Token> inputs(const PlanRow& row) const {
    return std::span(tokens).subspan(static_cast<size_t>(row.first_token), static_cast<size_t>(row.to - row.from));
  }
  std::span<const BlockId> table(const PlanRow& row) const {
    return std::span(tables).subspan(static_cast<size_t>(row.first_block), static_cast<size_t>(row.blocks));
  }

  std::vector<PlanRow> rows;
  std::vector<Token> tokens;
  std::vector<BlockId> tables;
  std::vector<RequestId> retracted;  // sent back to the queue to make room, when this was planned

 private:
  friend class Scheduler;
  void swap(StepPlan& other) noexcept;
  Scheduler* scheduler_ = nullptr;  // null for an empty plan
  uint64_t serial_ = 0;
  std::vector<kv::BlockRef> reserved_;  // the fresh blocks of all rows, in their order
};

}  // namespace cairn::llm
