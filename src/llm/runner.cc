#include "llm/runner.h"

#include <algorithm>

namespace cairn::llm {
namespace {

Tensor longs(int64_t count) { return empty({count}, Dtype::Long); }
int64_t* data(const Tensor& t) { return static_cast<int64_t*>(t.mutable_data_ptr()); }

}  // namespace

Batch batch_of(const StepPlan& plan, int64_t block_size, const std::vector<bool>& stretched, const Drafts& drafts) {
  auto count = static_cast<int64_t>(plan.tokens.size());
  for (const auto& d : drafts) count += static_cast<int64_t>(d.size());
  Batch b{.tokens = longs(count), .positions = longs(count), .slots = longs(count)};
  int64_t *tokens = data(b.tokens), *positions = data(b.positions), *slots = data(b.slots), at = 0;
  bool any = false;
  for (const bool s : stretched) any |= s;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    const auto inputs = plan.inputs(row);
    const auto table = plan.table(row);
    const std::span<const Token> more = drafts.empty() ? std::span<const Token>() : drafts[i];
    const int64_t to = row.to + static_cast<int64_t>(more.size());
    check(to <= row.to + row.drafts, "more tokens are proposed than have room");
    b.sequences.push_back({.row = at, .rows = to - row.from, .keys = to, .blocks = table.data()});
    for (int64_t p = row.from; p < to; ++p, ++at) {
      tokens[at] = p < row.to ? inputs[static_cast<size_t>(p - row.from)] : more[static_cast<size_t>(p - row.to)];
      positions[at] = p;
      slots[at] = int64_t{table[static_cast<size_t>(p / block_size)]} * block_size + p % block_size;
      if (any) b.stretched.push_back(stretched[i]);
    }
  }
  check(at == count, "a plan's rows are all its tokens");
  return b;
}

Tensor logits_of(const CausalLm& model, const Tensor& hidden, std::span<const int64_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  if (count == 0) return {};
  // A step of single tokens samples all its rows.
  if (count == hidden.size(0)) return model.logits(hidden);
  const Tensor index = longs(count);
  std::ranges::copy(rows, data(index));
  return model.logits(hidden.index_select(0, index.to(hidden.device())));
}

}  // namespace cairn::llm
