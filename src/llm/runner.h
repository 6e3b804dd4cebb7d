// What running a planned step on a model takes.
#pragma once
#include <memory>
#include <span>

#include "llm/causal_lm.h"
#include "llm/plan/step_plan.h"

namespace cairn::llm {

// The device image of a plan, with kLastSampled where a token is not known yet. `stretched`: for each row, whether its
// sequence is run with longrope's long factors.
// `drafts`: for each row, the tokens that speculation proposes behind it, at most PlanRow::drafts; empty for no row.
using Drafts = std::vector<std::vector<Token>>;
Batch batch_of(const StepPlan& plan, int64_t block_size, const std::vector<bool>& stretched, const Drafts& drafts = {});

// Logits (n, vocabulary) of n hidden states, by their rows; undefined for none.
Tensor logits_of(const CausalLm& model, const Tensor& hidden, std::span<const int64_t> rows);

}  // namespace cairn::llm
