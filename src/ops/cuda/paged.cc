#include <ATen/ops/tensor.h>

#include <algorithm>

#include "ops/cuda/cuda.h"
#include "ops/cuda/paged_kernels.h"
#include "ops/cuda/tensors.h"

namespace cairn::ops::cuda {
namespace {

constexpr int64_t kWidest = 1024;

// (blocks, block size, groups, width), any strides but the last; nothing when kernels cannot read it.
std::optional<Cache> cache_of(const Tensor& t) {
  const auto type = type_of(t.scalar_type());
  if (!type || t.dim() != 4 || t.stride(3) != 1 || t.numel() == 0) return {};
  return Cache{t.data_ptr(), *type, t.size(0), t.size(1), t.size(2), t.size(3), t.stride(0), t.stride(1), t.stride(2)};
}

// Tokens (T, heads, width) whose heads lie together.
std::optional<Rows> tokens_of(const Tensor& t) {
  const auto type = type_of(t.scalar_type());
  if (!type || t.dim() != 3 || t.stride(2) != 1 || (t.size(1) > 1 && t.stride(1) != t.size(2))) return {};
  return Rows{t.const_data_ptr(), *type, std::max<int64_t>(t.size(0), 1), 0, t.stride(0)};
}

// The arrays that kernels read, made from the host's list where a caller has none on the device.
Paging on_device(const Paging& paging, int64_t block_size, c10::Device device) {
  if (paging.tables.defined()) return paging;
  const auto count = static_cast<int64_t>(paging.sequences.size());
  int64_t columns = 1;
  for (const PagedSequence& s : paging.sequences) columns = std::max(columns, (s.keys + block_size - 1) / block_size);
  std::vector<int32_t> tables(static_cast<size_t>(count * columns)), keys, first;
  for (const PagedSequence& s : paging.sequences) {
    std::copy_n(s.blocks, (s.keys + block_size - 1) / block_size,
                tables.begin() + static_cast<std::ptrdiff_t>(static_cast<int64_t>(keys.size()) * columns));
    keys.push_back(static_cast<int32_t>(s.keys));
    first.push_back(static_cast<int32_t>(s.row));
  }
  first.push_back(first.empty() ? 0 : first.back() + static_cast<int32_t>(paging.sequences.back().rows));
  const auto moved = [&](const std::vector<int32_t>& v) { return at::tensor(v, Dtype::Int).to(device); };
  return {paging.sequences, moved(tables).view({count, columns}), moved(keys), moved(first)};
}

// Rows of sequences lie one after the other, as the kernels' first rows say.
bool gapless(at::ArrayRef<PagedSequence> sequences) {
  for (size_t i = 1; i < sequences.size(); ++i)
    if (sequences[i].row != sequences[i - 1].row + sequences[i - 1].rows) return false;
  return true;
}

}  // namespace

void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots) {
  const auto keys = tokens_of(k), values = tokens_of(v);
  const auto to_keys = cache_of(k_cache), to_values = cache_of(v_cache);
  if (!keys || !values || !to_keys || !to_values || !slots.is_contiguous())
    return reference::write_kv(k, v, k_cache, v_cache, slots);
  const auto* at = slots.const_data_ptr<int64_t>();
  launched(write_cache(*keys, k.size(0), *to_keys, at, stream_of(k)));
  launched(write_cache(*values, v.size(0), *to_values, at, stream_of(k)));
}

Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule) {
  const auto rows = tokens_of(q);
  const auto keys = cache_of(k), values = cache_of(v);
  const bool same = q.scalar_type() == k.scalar_type() && k.scalar_type() == v.scalar_type();
  const bool arrays = !paging.tables.defined() || (paging.tables.is_contiguous() && paging.keys.is_contiguous());
  if (!rows || !keys || !values || !same || !arrays || k.size(3) > kWidest || v.size(3) > kWidest ||
      (!paging.tables.defined() && !gapless(paging.sequences)))
    return reference::paged_attention(q, k, v, paging, rule);
  const Paging on = on_device(paging, k.size(1), q.device());
  PagedBatch batch{.count = on.tables.size(0),
                   .tables = on.tables.const_data_ptr<int32_t>(),
                   .table_width = on.tables.size(1),
                   .keys = on.keys.const_data_ptr<int32_t>(),
                   .first_row = on.first.const_data_ptr<int32_t>()};
  for (const PagedSequence& s : paging.sequences) batch.most_rows = std::max(batch.most_rows, s.rows);
  // Not what the host's list says: a graph is replayed with longer sequences than it was captured with.
  batch.most_keys = batch.table_width * k.size(1);
  Tensor out = made(q, {q.size(0), q.size(1) * v.size(3)}, q.scalar_type());
  const Paged p{.q = *rows,
                .rows = q.size(0),
                .heads = q.size(1),
                .k = *keys,
                .v = *values,
                .batch = batch,
                .scale = static_cast<float>(rule.scale),
                .softcap = static_cast<float>(rule.softcap),
                .window = rule.window,
                .out = out.data_ptr()};
  const int64_t floats = paged_workspace(p);
  const Tensor sums = floats > 0 ? workspace(q, floats, kF32) : Tensor();
  launched(paged_attention(p, floats > 0 ? sums.data_ptr<float>() : nullptr, stream_of(q)));
  return out;
}

}  // namespace cairn::ops::cuda
