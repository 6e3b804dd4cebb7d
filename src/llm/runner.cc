#include "llm/runner.h"

namespace cairn::llm {
namespace {

Tensor longs(int64_t count) { return empty({count}, Dtype::Long); }
int64_t* data(const Tensor& t) { return static_cast<int64_t*>(t.mutable_data_ptr()); }

}  // namespace

Batch batch_of(const StepPlan& plan, int64_t block_size, const std::vector<bool>& stretched) {
  const auto count = static_cast<int64_t>(plan.tokens.size());
  Batch b{.tokens = longs(count), .positions = longs(count), .slots = longs(count)};
  int64_t *tokens = data(b.tokens), *positions = data(b.positions), *slots = data(b.slots), at = 0;
  bool any = false;
  for (const bool s : stretched) any |= s;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    const auto inputs = plan.inputs(row);
    const auto table = plan.table(row);
    b.sequences.push_back({.row = at, .rows = row.to - row.from, .keys = row.to, .blocks = table.data()});
    for (int64_t p = row.from; p < row.to; ++p, ++at) {
      const Token token = inputs[static_cast<size_t>(p - row.from)];
      check(token != kLastSampled, "this runner wants plans whose tokens are known");
      tokens[at] = token;
      positions[at] = p;
      slots[at] = int64_t{table[static_cast<size_t>(p / block_size)]} * block_size + p % block_size;
      if (any) b.stretched.push_back(stretched[i]);
    }
  }
  check(at == count, "a plan's rows are all its tokens");
  return b;
}

Tensor run(const CausalLm& model, const KvCache& cache, const StepPlan& plan, const std::vector<bool>& stretched) {
  const Batch batch = batch_of(plan, cache.block_size(), stretched);
  const Tensor hidden = model.forward(batch, cache);
  int64_t count = 0;
  Tensor last = longs(static_cast<int64_t>(plan.rows.size()));
  for (size_t i = 0; i < plan.rows.size(); ++i)
    if (plan.rows[i].sample) data(last)[count++] = batch.sequences[i].row + batch.sequences[i].rows - 1;
  if (count == 0) return {};
  // A step of single tokens samples all its rows.
  if (count == hidden.size(0)) return model.logits(hidden);
  return model.logits(hidden.index_select(0, last.narrow(0, 0, count).to(hidden.device())));
}

}  // namespace cairn::llm
