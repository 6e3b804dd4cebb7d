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

// The next tensor of a piece of memory in which several lie, each on a cache line of its own.
Tensor next_part(const Tensor& bytes, int64_t& at, at::IntArrayRef sizes, Dtype dtype) {
  constexpr int64_t kLine = 64;
  int64_t size = static_cast<int64_t>(c10::elementSize(dtype));
  for (const int64_t n : sizes) size *= n;
  const int64_t from = at;
  at += (size + kLine - 1) / kLine * kLine;
  return bytes.defined() ? bytes.narrow(0, from, size).view(dtype).view(sizes) : Tensor();
}

// What of a batch of `rows` tokens changes at every step, in that memory; its size alone, when it is undefined.
int64_t lay_out(Batch& b, const Tensor& bytes, int64_t rows, at::TensorList rotary) {
  int64_t at = 0;
  for (Tensor* t : {&b.tokens, &b.positions, &b.slots}) *t = next_part(bytes, at, rows, Dtype::Long);
  b.keys = next_part(bytes, at, rows, Dtype::Int);
  b.rotary.clear();
  for (const Tensor& t : rotary) b.rotary.push_back(next_part(bytes, at, t.sizes(), t.scalar_type()));
  return at;
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
    : model_(model), cache_(cache), rows_(rows), spare_(static_cast<int32_t>(cache.blocks())) {
  const Tensor numbers = zeros({rows}, Dtype::Long);
  const auto rotary = model.rotary({.tokens = numbers, .positions = numbers, .slots = numbers});
  host_bytes_ = zeros({lay_out(host_, {}, rows, rotary)}, Dtype::Byte);
  lay_out(host_, host_bytes_, rows, rotary);
  host_.sequences.resize(static_cast<size_t>(rows));
  device_ = host_;  // the same tensors
  fill({.tokens = longs(0), .positions = longs(0), .slots = longs(0)});
  device_.keys = Tensor();
  if (model.device().is_cpu()) return;
  device_bytes_ = host_bytes_.to(model.device());
  lay_out(device_, device_bytes_, rows, rotary);
  device_.tables = zeros({rows, columns}, Dtype::Int, model.device());
  device_.first = tables_of(host_.sequences, cache.block_size()).first.to(model.device());
}

void StepImage::fill(const Batch& batch) {
  const int64_t given = batch.rows();
  check(given <= rows_, "a step fits the size that was captured");
  for (const auto& [to, from] : {std::pair(&host_.tokens, &batch.tokens), std::pair(&host_.positions, &batch.positions),
                                 std::pair(&host_.slots, &batch.slots)}) {
    std::copy_n(data(*from), given, data(*to));
    std::fill(data(*to) + given, data(*to) + rows_, 0);
  }
  std::fill(data(host_.slots) + given, data(host_.slots) + rows_, spare_ * cache_.block_size());
  look_at(host_, model_, cache_);
  std::ranges::copy(batch.sequences, host_.sequences.begin());
  for (int64_t i = given; i < rows_; ++i)
    host_.sequences[static_cast<size_t>(i)] = {.row = i, .rows = 1, .keys = 1, .blocks = &spare_};
  const auto rotary = model_.rotary(host_);
  for (size_t i = 0; i < rotary.size(); ++i) host_.rotary[i].copy_(rotary[i]);
  std::ranges::copy(host_.sequences, device_.sequences.begin());
  if (!device_bytes_.defined()) return;
  const Tables t = tables_of(host_.sequences, cache_.block_size());
  host_.keys.copy_(t.keys);
  device_bytes_.copy_(host_bytes_);
  if (tables_.defined() && tables_.equal(t.tables)) return;
  device_.tables.narrow(1, 0, t.tables.size(1)).copy_(t.tables);
  tables_ = t.tables;
}

}  // namespace cairn::llm
