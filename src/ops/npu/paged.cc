// The paged cache: (blocks, block size, G, d), as npu_scatter_pa_kv_cache writes it and npu_fused_infer_attention_score
// reads it.
#include <ATen/ops/ones.h>

#include "device/graph.h"
#include "ops/npu/npu.h"
#include "ops/npu/operator.h"

namespace cairn::ops::npu {
namespace {

// From torch_npu's documentation: fp16 and bf16, blocks of a multiple of 16 for one query and of 128 for more.
bool takes(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionRule& rule) {
  const bool half = q.scalar_type() == kBF16 || q.scalar_type() == kF16;
  return half && q.scalar_type() == k.scalar_type() && k.is_contiguous() && v.is_contiguous() && rule.softcap == 0 &&
         rule.window == 0 && k.size(1) % 16 == 0 && k.size(1) <= 512 && k.size(3) % 16 == 0 && k.size(3) <= 512 &&
         k.size(3) == v.size(3) && q.size(1) / k.size(2) <= 64;
}

// True above the diagonal: what sparse_mode 3 hides, in the size that it asks for.
const Tensor& causal_mask(c10::Device device) {
  constexpr int64_t kSide = 2048;
  static thread_local Tensor mask;
  if (!mask.defined() || mask.device() != device)
    mask = at::ones({kSide, kSide}, at::TensorOptions().dtype(Dtype::Bool)).triu(1).to(device);
  return mask;
}

struct Attending {
  Tensor keys, values;  // (blocks, block size, G d)
  int64_t heads, groups, block_size;
  double scale;
};

// One token of each sequence. The lengths are arguments on the host, so in a graph they are given anew at each replay.
void decode(const Attending& a, const Tensor& q, const Paging& paging, const Tensor& out) {
  static const Operator op("npu::npu_fused_infer_attention_score", "out"),
      most("npu::_npu_fused_infer_attention_score_get_max_workspace");
  const auto sequences = paging.sequences;  // what it points to lives as long as the graph, with new numbers in it
  const auto lengths = [sequences] {
    std::vector<int64_t> list;
    for (const PagedSequence& s : sequences) list.push_back(s.keys);
    return list;
  };
  const Tensor workspace = most({{"query", q},
                                 {"key", a.keys},
                                 {"value", a.values},
                                 {"block_table", paging.tables},
                                 {"actual_seq_lengths_kv", lengths()},
                                 {"num_heads", a.heads},
                                 {"num_key_value_heads", a.groups},
                                 {"scale", a.scale},
                                 {"block_size", a.block_size},
                                 {"input_layout", "BSH"}})[0];
  const Tensor lse = empty({1}, q.scalar_type(), q.device());
  device::updatable([=, tables = paging.tables] {
    op({{"query", q},
        {"key", a.keys},
        {"value", a.values},
        {"block_table", tables},
        {"actual_seq_lengths_kv", lengths()},
        {"num_heads", a.heads},
        {"num_key_value_heads", a.groups},
        {"scale", a.scale},
        {"block_size", a.block_size},
        {"input_layout", "BSH"},
        {"workspace", workspace},
        {"out|attention_out", std::vector<Tensor>{out, lse}}});
  });
}

Tensor prompt(const Attending& a, const Tensor& q, const Paging& paging, size_t index) {
  static const Operator op("npu::npu_fused_infer_attention_score");
  const PagedSequence& s = paging.sequences[index];
  const int64_t blocks = (s.keys + a.block_size - 1) / a.block_size;
  return op({{"query", q.narrow(0, s.row, s.rows).unsqueeze(0).contiguous()},
             {"key", a.keys},
             {"value", a.values},
             {"block_table", paging.tables.narrow(0, static_cast<int64_t>(index), 1).narrow(1, 0, blocks).contiguous()},
             {"atten_mask", causal_mask(q.device())},
             {"actual_seq_lengths", std::vector<int64_t>{s.rows}},
             {"actual_seq_lengths_kv", std::vector<int64_t>{s.keys}},
             {"num_heads", a.heads},
             {"num_key_value_heads", a.groups},
             {"scale", a.scale},
             {"block_size", a.block_size},
             {"sparse_mode", int64_t{3}},
             {"input_layout", "BSND"}})[0];
}

}  // namespace

void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots) {
  const bool fits = k.scalar_type() == k_cache.scalar_type() && v.scalar_type() == v_cache.scalar_type() &&
                    (k.scalar_type() == kBF16 || k.scalar_type() == kF16) && k_cache.is_contiguous() &&
                    v_cache.is_contiguous() && k.size(2) % 16 == 0 && v.size(2) % 16 == 0;
  if (!fits) return reference::write_kv(k, v, k_cache, v_cache, slots);
  static const Operator op("npu::npu_scatter_pa_kv_cache");
  op({{"key", k.contiguous()},
      {"value", v.contiguous()},
      {"key_cache", k_cache},
      {"value_cache", v_cache},
      {"slot_mapping", slots.to(Dtype::Int)},
      {"cache_mode", "Norm"}});
}

Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule) {
  bool single = true;
  for (const PagedSequence& s : paging.sequences) single &= s.rows == 1;
  const bool fits = paging.tables.defined() && takes(q, k, v, rule) && (single || k.size(1) % 128 == 0) &&
                    (!single || static_cast<int64_t>(paging.sequences.size()) == q.size(0));
  if (!fits) return reference::paged_attention(q, k, v, paging, rule);
  const Attending a{k.flatten(2), v.flatten(2), q.size(1), k.size(2), k.size(1), rule.scale};
  const int64_t rows = q.size(0), width = q.size(1) * v.size(3);
  if (single) {
    const Tensor out = empty({rows, 1, width}, q.scalar_type(), q.device());
    decode(a, q.reshape({rows, 1, width}), paging, out);
    return out.view({rows, width});
  }
  const Tensor out = empty({rows, width}, q.scalar_type(), q.device());
  for (size_t i = 0; i < paging.sequences.size(); ++i) {
    const PagedSequence& s = paging.sequences[i];
    if (s.rows > 0) out.narrow(0, s.row, s.rows).copy_(prompt(a, q, paging, i).view({s.rows, width}));
  }
  return out;
}

}  // namespace cairn::ops::npu
