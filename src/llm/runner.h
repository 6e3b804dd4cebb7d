// Runs planned steps on a model.
#pragma once
#include <memory>
#include <span>

#include "llm/causal_lm.h"
#include "llm/plan/step_plan.h"

namespace cairn::llm {

// The device image of a plan whose tokens are all known. `stretched`: for each row, whether its sequence is run with
// longrope's long factors.
// `drafts`: for each row, the tokens that speculation proposes behind it, at most PlanRow::drafts; empty for no row.
using Drafts = std::vector<std::vector<Token>>;
Batch batch_of(const StepPlan& plan, int64_t block_size, const std::vector<bool>& stretched, const Drafts& drafts = {});

// Hidden states (T, D) of all tokens of a step, and where each row of its plan begins among them.
struct Ran {
  Tensor hidden;
  std::vector<int64_t> first;
};
Ran run(const CausalLm& model, const KvCache& cache, const StepPlan& plan, const std::vector<bool>& stretched,
        const Drafts& drafts = {});

// Logits (n, vocabulary) of n hidden states, by their rows; undefined for none.
Tensor logits_of(const CausalLm& model, const Tensor& hidden, std::span<const int64_t> rows);

}  // namespace cairn::llm
