// Runs planned steps on a model.
#pragma once
#include <memory>

#include "llm/causal_lm.h"
#include "llm/plan/step_plan.h"

namespace cairn::llm {

// The device image of a plan whose tokens are all known. `stretched`: for each row, whether its sequence is run with
// longrope's long factors.
Batch batch_of(const StepPlan& plan, int64_t block_size, const std::vector<bool>& stretched);

// Logits (n, vocabulary) of the rows that sample, in their order; undefined when none does.
Tensor run(const CausalLm& model, const KvCache& cache, const StepPlan& plan, const std::vector<bool>& stretched);

}  // namespace cairn::llm
