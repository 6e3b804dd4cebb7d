// Runs planned steps on a model.
#pragma once
#include <memory>

#include "llm/causal_lm.h"
#include "llm/plan/step_plan.h"

namespace cairn::llm {

// What the engine adds to a row of a plan.
struct RowRun {
  bool stretched = false;       // longrope's long factors
  std::vector<Token> drafts{};  // tokens that may follow; at most as many as the row has blocks for
};

// The device image of a plan whose tokens are all known. `rows` has one entry for each row of the plan.
Batch batch_of(const StepPlan& plan, int64_t block_size, std::span<const RowRun> rows);

// What a step gives: hidden states after the final norm, (T, D); those of row i, and then of its drafts, from first[i]
// on.
struct StepHidden {
  Tensor hidden;
  std::vector<int64_t> first;
};
StepHidden run(const CausalLm& model, const KvCache& cache, const StepPlan& plan, std::span<const RowRun> rows);

// Logits (n, vocabulary) behind those tokens of the step; undefined for none.
Tensor logits_of(const CausalLm& model, const StepHidden& step, std::span<const int64_t> tokens);

}  // namespace cairn::llm
