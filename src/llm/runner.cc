#include "llm/runner.h"

#include <algorithm>

namespace cairn::llm {
namespace {

Tensor longs(int64_t count) { return empty({count}, Dtype::Long); }
int64_t* data(const Tensor& t) { return static_cast<int64_t*>(t.mutable_data_ptr()); }

}  // namespace

Batch batch_of(const StepPlan& plan, int64_t block_size, std::span<const RowRun> rows) {
  check(rows.size() == plan.rows.size(), "every row of a plan is told how to run");
  auto count = static_cast<int64_t>(plan.tokens.size());
  bool any = false;
  for (const RowRun& r : rows) any |= r.stretched, count += static_cast<int64_t>(r.drafts.size());
  Batch b{.tokens = longs(count), .positions = longs(count), .slots = longs(count)};
  int64_t *tokens = data(b.tokens), *positions = data(b.positions), *slots = data(b.slots), at = 0;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    const auto inputs = plan.inputs(row);
    const auto table = plan.table(row);
    const std::span<const Token> drafts = rows[i].drafts;
    const int64_t to = row.to + static_cast<int64_t>(drafts.size());
    check(to <= row.to + row.drafts, "drafts have room in the cache");
    b.sequences.push_back({.row = at, .rows = to - row.from, .keys = to, .blocks = table.data()});
    for (int64_t p = row.from; p < to; ++p, ++at) {
      const Token token =
          p < row.to ? inputs[static_cast<size_t>(p - row.from)] : drafts[static_cast<size_t>(p - row.to)];
      check(token != kLastSampled, "this runner wants plans whose tokens are known");
      tokens[at] = token;
      positions[at] = p;
      slots[at] = int64_t{table[static_cast<size_t>(p / block_size)]} * block_size + p % block_size;
      if (any) b.stretched.push_back(rows[i].stretched);
    }
  }
  check(at == count, "a plan's rows are all its tokens");
  return b;
}

StepHidden run(const CausalLm& model, const KvCache& cache, const StepPlan& plan, std::span<const RowRun> rows) {
  const Batch batch = batch_of(plan, cache.block_size(), rows);
  StepHidden out{model.forward(batch, cache), {}};
  for (const auto& s : batch.sequences) out.first.push_back(s.row);
  return out;
}

Tensor logits_of(const CausalLm& model, const StepHidden& step, std::span<const int64_t> tokens) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count == 0) return {};
  // A step of single tokens wants all of them.
  if (count == step.hidden.size(0)) return model.logits(step.hidden);
  Tensor which = longs(count);
  std::ranges::copy(tokens, data(which));
  return model.logits(step.hidden.index_select(0, which.to(step.hidden.device())));
}

}  // namespace cairn::llm
