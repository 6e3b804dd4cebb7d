#include "llm/step_image.h"

#include <algorithm>

namespace cairn::llm {
namespace {

Tensor longs(int64_t count) { return empty({count}, Dtype::Long); }
int64_t* data(const Tensor& t) { return static_cast<int64_t*>(t.mutable_data_ptr()); }
int32_t* data32(const Tensor& t) { return static_cast<int32_t*>(t.mutable_data_ptr()); }

void look_at(const Batch& b, const CausalLm& model, const KvCache& cache) {
  const int64_t places = (cache.blocks() + 1) * cache.block_size();
  for (int64_t i = 0; i < b.rows(); ++i)
    check(data(b.tokens)[i] >= 0 && data(b.tokens)[i] < model.vocabulary() && data(b.positions)[i] >= 0 &&
              data(b.positions)[i] < model.max_positions() && data(b.slots)[i] >= 0 && data(b.slots)[i] < places,
          "a step's tokens, positions and slots are those of its model and cache");
}

int64_t blocks_of(const ops::PagedSequence& s, int64_t block_size) { return (s.keys + block_size - 1) / block_size; }

// ops::Paging's tensors, on the host.
struct Tables {
  Tensor tables, keys, first;
};

Tables tables_of(std::span<const ops::PagedSequence> sequences, int64_t block_size) {
  const auto count = static_cast<int64_t>(sequences.size());
  int64_t columns = 1;
  for (const auto& s : sequences) columns = std::max(columns, blocks_of(s, block_size));
  Tables out{zeros({count, columns}, Dtype::Int), empty({count}, Dtype::Int), empty({count + 1}, Dtype::Int)};
  int32_t* first = data32(out.first);
  *first = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto& s = sequences[static_cast<size_t>(i)];
    check(s.row == first[i], "the sequences of a step follow one another");
    std::copy_n(s.blocks, blocks_of(s, block_size), data32(out.tables) + i * columns);
    data32(out.keys)[i] = static_cast<int32_t>(s.keys);
    first[i + 1] = static_cast<int32_t>(s.row + s.rows);
  }
  return out;
}

}  // namespace

Batch on_device(const Batch& batch, const CausalLm& model, const KvCache& cache) {
  look_at(batch, model, cache);
  const c10::Device device = model.device();
  const Tables t = tables_of(batch.sequences, cache.block_size());
  Batch out{.tokens = batch.tokens.to(device),
            .positions = batch.positions,
            .slots = batch.slots.to(device),
            .sequences = batch.sequences,
            .stretched = batch.stretched,
            .tables = t.tables.to(device),
            .keys = t.keys.to(device),
            .first = t.first.to(device)};
  for (const Tensor& table : model.rotary(batch)) out.rotary.push_back(table.to(device));
  return out;
}

StepImage::StepImage(const CausalLm& model, const KvCache& cache, int64_t rows, int64_t columns)
    : model_(model), cache_(cache), spare_(static_cast<int32_t>(cache.blocks())) {
  const auto numbers = [&] { return zeros({rows}, Dtype::Long); };
  host_ = {.tokens = numbers(), .positions = numbers(), .slots = numbers()};
  host_.sequences.resize(static_cast<size_t>(rows));
  host_.rotary = model.rotary(host_);
  device_ = host_;  // the same tensors
  fill({.tokens = longs(0), .positions = longs(0), .slots = longs(0)});
  if (model.device().is_cpu()) return;
  device_ = on_device(host_, model, cache);
  device_.tables = zeros({rows, columns}, Dtype::Int, model.device());
}

void StepImage::fill(const Batch& batch) {
  const int64_t given = batch.rows(), all = rows();
  check(given <= all, "a step fits the size that was captured");
  for (const auto& [to, from] : {std::pair(&host_.tokens, &batch.tokens), std::pair(&host_.positions, &batch.positions),
                                 std::pair(&host_.slots, &batch.slots)}) {
    std::copy_n(data(*from), given, data(*to));
    std::fill(data(*to) + given, data(*to) + all, 0);
  }
  std::fill(data(host_.slots) + given, data(host_.slots) + all, spare_ * cache_.block_size());
  look_at(host_, model_, cache_);
  std::ranges::copy(batch.sequences, host_.sequences.begin());
  for (int64_t i = given; i < all; ++i)
    host_.sequences[static_cast<size_t>(i)] = {.row = i, .rows = 1, .keys = 1, .blocks = &spare_};
  std::ranges::copy(host_.sequences, device_.sequences.begin());
  const auto rotary = model_.rotary(host_);
  for (size_t i = 0; i < rotary.size(); ++i) device_.rotary[i].copy_(rotary[i]);
  if (!device_.tables.defined()) return;
  const Tables t = tables_of(host_.sequences, cache_.block_size());
  device_.tokens.copy_(host_.tokens);
  device_.slots.copy_(host_.slots);
  device_.tables.narrow(1, 0, t.tables.size(1)).copy_(t.tables);
  device_.keys.copy_(t.keys);
}

}  // namespace cairn::llm
