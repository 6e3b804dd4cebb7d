#include "llm/runner.h"

#include <algorithm>
#include <numeric>

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

Tensor rows_of(const Tensor& t, std::span<const int64_t> rows) {
  const Tensor index = longs(static_cast<int64_t>(rows.size()));
  std::ranges::copy(rows, data(index));
  return t.index_select(0, index.to(t.device()));
}

namespace {

Tensor logits_of(const CausalLm& model, const Tensor& hidden, std::span<const int64_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  if (count == 0) return {};
  // A step of single tokens samples all its rows.
  if (count == hidden.size(0)) return model.logits(hidden);
  return model.logits(rows_of(hidden, rows));
}

}  // namespace

int64_t GraphConfig::size_for(int64_t sequences, bool processor) const {
  if (disable || sequences > max_bs) return 0;
  int64_t size = 0;
  if (!sizes.empty()) {
    for (const int64_t s : sizes)
      if (s >= sequences && (size == 0 || s < size)) size = s;
  } else if (processor || disable_padding || sequences <= 2) {
    size = sequences;
  } else {
    const int64_t step = sequences <= 16 ? 4 : 8;
    size = std::min((sequences + step - 1) / step * step, max_bs);
  }
  return disable_padding && size != sequences ? 0 : size;
}

Runner::~Runner() {
  try {
    stream_.synchronize();
  } catch (const std::exception&) {}  // what failed on the device was told where it was asked for
}

Runner::Out Runner::run(const Batch& batch, std::span<const int64_t> sampled) {
  const device::Stream::Use use(stream_);
  const int64_t size = decodes(batch, sampled) ? config_.size_for(batch.rows(), model_.device().is_cpu()) : 0;
  if (size == 0) return eager(batch, sampled);
  const auto [at, first] = graphs_.try_emplace(size);
  if (first) return eager(batch, sampled);  // weights get the form that kernels want
  if (!at->second) return capture(at->second, size, batch, sampled);
  return at->second->graph ? replay(*at->second, batch) : eager(batch, sampled);
}

bool Runner::decodes(const Batch& batch, std::span<const int64_t> sampled) const {
  const int64_t rows = batch.rows();
  if (!refused_.empty() || !batch.stretched.empty()) return false;
  if (static_cast<int64_t>(sampled.size()) != rows || static_cast<int64_t>(batch.sequences.size()) != rows)
    return false;
  for (int64_t i = 0; i < rows; ++i) {
    const auto& s = batch.sequences[static_cast<size_t>(i)];
    if (s.row != i || s.rows != 1 || sampled[static_cast<size_t>(i)] != i) return false;
  }
  return true;
}

Runner::Out Runner::eager(const Batch& batch, std::span<const int64_t> sampled) const {
  return forward(model_.device().is_cpu() ? batch : on_device(batch, model_, cache_), sampled);
}

Runner::Out Runner::forward(const Batch& batch, std::span<const int64_t> sampled) const {
  Out out{.hidden = model_.forward(batch, cache_), .logits = {}};
  out.logits = logits_of(model_, out.hidden, sampled);
  return out;
}

Runner::Out Runner::capture(std::optional<Decode>& to, int64_t size, const Batch& batch,
                            std::span<const int64_t> sampled) {
  const int64_t columns = std::min(cache_.blocks(), (model_.max_positions() - 1) / cache_.block_size() + 1);
  Decode& d = to.emplace(model_, cache_, size, columns);
  d.image.fill(batch);
  std::vector<int64_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  Out made;
  auto graph = device::Graph::capture(memory_, [&] { made = forward(d.image.batch(), all); });
  if (!graph) {
    const auto captured = [](const auto& held) { return held.second && held.second->graph; };
    if (std::ranges::none_of(graphs_, captured)) refused_ = graph.error().what;
    return eager(batch, sampled);
  }
  d.graph = std::move(*graph);
  d.out = {borrowed(made.hidden), borrowed(made.logits)};
  return replay(d, batch);
}

Runner::Out Runner::replay(Decode& d, const Batch& batch) {
  d.image.fill(batch);
  d.graph->replay();
  ++replays_;
  return {d.out.hidden.narrow(0, 0, batch.rows()), d.out.logits.narrow(0, 0, batch.rows())};
}

}  // namespace cairn::llm
