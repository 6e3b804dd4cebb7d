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
  Tensor keys, values, ropes;  // in blocks; ropes: the keys' rope parts in latent attention, else undefined
  int64_t heads, groups, block_size;
  double scale;
};

// One token of each sequence. The lengths are arguments on the host, so in a graph they are given anew at each replay.
void decode(const Attending& a, const char* layout, const Tensor& q, const Tensor& q_rope, const Paging& paging,
            const Tensor& out) {
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
                                 {"query_rope", q_rope},
                                 {"key_rope", a.ropes},
                                 {"block_table", paging.tables},
                                 {"actual_seq_lengths_kv", lengths()},
                                 {"num_heads", a.heads},
                                 {"num_key_value_heads", a.groups},
                                 {"scale", a.scale},
                                 {"block_size", a.block_size},
                                 {"input_layout", layout}})[0];
  const Tensor lse = empty({1}, q.scalar_type(), q.device());
  device::updatable([=, tables = paging.tables] {
    op({{"query", q},
        {"key", a.keys},
        {"value", a.values},
        {"query_rope", q_rope},
        {"key_rope", a.ropes},
        {"block_table", tables},
        {"actual_seq_lengths_kv", lengths()},
        {"num_heads", a.heads},
        {"num_key_value_heads", a.groups},
        {"scale", a.scale},
        {"block_size", a.block_size},
        {"input_layout", layout},
        {"workspace", workspace},
        {"out|attention_out", std::vector<Tensor>{out, lse}}});
  });
}

// Some tokens of one sequence: q as the layout has it, with a first dimension of 1.
Tensor prompt(const Attending& a, const char* layout, const Tensor& q, const Tensor& q_rope, const Paging& paging,
              size_t index) {
  static const Operator op("npu::npu_fused_infer_attention_score");
  const PagedSequence& s = paging.sequences[index];
  const int64_t blocks = (s.keys + a.block_size - 1) / a.block_size;
  const bool masked = s.rows > 1 || !a.ropes.defined();  // latent attention of one row takes no mask
  return op({{"query", q.contiguous()},
             {"key", a.keys},
             {"value", a.values},
             {"query_rope", q_rope.defined() ? q_rope.contiguous() : q_rope},
             {"key_rope", a.ropes},
             {"block_table", paging.tables.narrow(0, static_cast<int64_t>(index), 1).narrow(1, 0, blocks).contiguous()},
             {"atten_mask", masked ? causal_mask(q.device()) : Tensor()},
             {"actual_seq_lengths", std::vector<int64_t>{s.rows}},
             {"actual_seq_lengths_kv", std::vector<int64_t>{s.keys}},
             {"num_heads", a.heads},
             {"num_key_value_heads", a.groups},
             {"scale", a.scale},
             {"block_size", a.block_size},
             {"sparse_mode", int64_t{masked ? 3 : 0}},
             {"input_layout", layout}})[0];
}

bool all_single(const Paging& paging, int64_t rows) {
  for (const PagedSequence& s : paging.sequences)
    if (s.rows != 1) return false;
  return static_cast<int64_t>(paging.sequences.size()) == rows;
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
  const Attending a{k.flatten(2), v.flatten(2), {}, q.size(1), k.size(2), k.size(1), rule.scale};
  const int64_t rows = q.size(0), width = q.size(1) * v.size(3);
  if (single) {
    const Tensor out = empty({rows, 1, width}, q.scalar_type(), q.device());
    decode(a, "BSH", q.reshape({rows, 1, width}), {}, paging, out);
    return out.view({rows, width});
  }
  const Tensor out = empty({rows, width}, q.scalar_type(), q.device());
  for (size_t i = 0; i < paging.sequences.size(); ++i) {
    const PagedSequence& s = paging.sequences[i];
    if (s.rows == 0) continue;
    const Tensor part = q.narrow(0, s.row, s.rows).unsqueeze(0);
    out.narrow(0, s.row, s.rows).copy_(prompt(a, "BSND", part, {}, paging, i).view({s.rows, width}));
  }
  return out;
}

// From the documentation of latent attention: latents of 512, rope parts of 64, 1, 2, 4 to 128 heads, blocks of 128 or
// 512, up to 16 tokens of a sequence.
Tensor split_latent_attention(const Tensor& q, const Tensor& q_rope, const Tensor& latents, const Tensor& ropes,
                              const Paging& paging, const AttentionRule& rule) {
  const int64_t rows = q.size(0), heads = q.size(1), width = q.size(2), size = latents.size(1);
  bool fits = paging.tables.defined() && (q.scalar_type() == kBF16 || q.scalar_type() == kF16) && width == 512 &&
              q_rope.size(2) == 64 && heads <= 128 && (heads & (heads - 1)) == 0 && (size == 128 || size == 512) &&
              rule.softcap == 0 && rule.window == 0 && latents.is_contiguous() && ropes.is_contiguous();
  for (const Tensor& t : {q_rope, latents, ropes}) fits &= t.scalar_type() == q.scalar_type();
  for (const PagedSequence& s : paging.sequences) fits &= s.rows <= 16;
  if (!fits) return reference::split_latent_attention(q, q_rope, latents, ropes, paging, rule);
  const auto blocks = [&](const Tensor& cache) { return cache.view({cache.size(0), 1, size, cache.size(3)}); };
  const Attending a{blocks(latents), blocks(latents), blocks(ropes), heads, 1, size, rule.scale};
  if (all_single(paging, rows)) {
    const Tensor out = empty({rows, heads, 1, width}, q.scalar_type(), q.device());
    decode(a, "BNSD", q.unsqueeze(2).contiguous(), q_rope.unsqueeze(2).contiguous(), paging, out);
    return out.view({rows, heads * width});
  }
  const Tensor out = empty({rows, heads, width}, q.scalar_type(), q.device());
  for (size_t i = 0; i < paging.sequences.size(); ++i) {
    const PagedSequence& s = paging.sequences[i];
    if (s.rows == 0) continue;
    const auto part = [&](const Tensor& t) { return t.narrow(0, s.row, s.rows).transpose(0, 1).unsqueeze(0); };
    out.narrow(0, s.row, s.rows).copy_(prompt(a, "BNSD", part(q), part(q_rope), paging, i)[0].transpose(0, 1));
  }
  return out.flatten(1);
}

}  // namespace cairn::ops::npu
