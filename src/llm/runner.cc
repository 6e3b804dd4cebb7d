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

namespace {

Tensor logits_of(const CausalLm& model, const Tensor& hidden, std::span<const int64_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  if (count == 0) return {};
  // A step of single tokens samples all its rows.
  if (count == hidden.size(0)) return model.logits(hidden);
  const Tensor index = longs(count);
  std::ranges::copy(rows, data(index));
  return model.logits(hidden.index_select(0, index.to(hidden.device())));
}

}  // namespace

Runner::Out Runner::run(const Batch& batch, std::span<const int64_t> sampled) {
  if (!decodes(batch, sampled)) return eager(batch, sampled);
  const auto [at, first] = graphs_.try_emplace(batch.rows());
  if (first) return eager(batch, sampled);  // weights get the form that kernels want
  if (!at->second) return capture(at->second.emplace(), batch, sampled);
  Decode& d = *at->second;
  if (!d.graph) return eager(batch, sampled);
  fill(d.image, batch);
  d.graph->replay();
  ++replays_;
  return d.out;
}

bool Runner::decodes(const Batch& batch, std::span<const int64_t> sampled) const {
  const int64_t rows = batch.rows();
  if (config_.disable || !refused_.empty() || rows > config_.max_bs || !batch.stretched.empty()) return false;
  if (static_cast<int64_t>(sampled.size()) != rows || static_cast<int64_t>(batch.sequences.size()) != rows)
    return false;
  for (int64_t i = 0; i < rows; ++i) {
    const auto& s = batch.sequences[static_cast<size_t>(i)];
    if (s.row != i || s.rows != 1 || sampled[static_cast<size_t>(i)] != i) return false;
  }
  return true;
}

Runner::Out Runner::eager(const Batch& batch, std::span<const int64_t> sampled) const {
  Out out{.hidden = model_.forward(batch, cache_), .logits = {}};
  out.logits = logits_of(model_, out.hidden, sampled);
  return out;
}

Runner::Out Runner::capture(Decode& to, const Batch& batch, std::span<const int64_t> sampled) {
  const int64_t rows = batch.rows();
  to.image = {.tokens = longs(rows), .positions = longs(rows), .slots = longs(rows), .sequences = batch.sequences};
  fill(to.image, batch);
  Out made;
  auto graph = device::Graph::capture(memory_, [&] { made = eager(to.image, sampled); });
  if (!graph) {
    refused_ = graph.error().what;
    return made;
  }
  to.graph = std::move(*graph);
  to.out = {borrowed(made.hidden), borrowed(made.logits)};
  return to.out;
}

// Kernels look at nothing of what they are given, so it is looked at here.
void Runner::fill(Batch& image, const Batch& batch) const {
  const int64_t rows = batch.rows(), places = cache_.blocks() * cache_.block_size();
  for (int64_t i = 0; i < rows; ++i)
    check(data(batch.tokens)[i] >= 0 && data(batch.tokens)[i] < model_.vocabulary() && data(batch.positions)[i] >= 0 &&
              data(batch.positions)[i] < model_.max_positions() && data(batch.slots)[i] >= 0 &&
              data(batch.slots)[i] < places,
          "a step's tokens, positions and slots are those of its model and cache");
  for (const auto& [to, from] : {std::pair(&image.tokens, &batch.tokens), std::pair(&image.positions, &batch.positions),
                                 std::pair(&image.slots, &batch.slots)})
    std::copy_n(data(*from), rows, data(*to));
  std::ranges::copy(batch.sequences, image.sequences.begin());
}

}  // namespace cairn::llm
