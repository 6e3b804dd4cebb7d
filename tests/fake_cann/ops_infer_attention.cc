// Attention for inference: npu_fused_infer_attention_score (paged or not, and MLA's rope parts), and the older prompt
// and incremental forms. The limits are those of torch_npu's documentation of npu_fused_infer_attention_score and its
// v2.
#include <ATen/ops/cat.h>

#include <algorithm>

#include "ops_attention.h"

namespace {
using at::Tensor;
using namespace fake;

struct Inference {
  Tensor query, query_rope, bias, block_table, sink, out, lse;
  std::vector<Tensor> key, value, key_rope;  // one, or one a sequence
  Sparsity sparsity;
  std::vector<int64_t> q_lengths, kv_lengths;  // of each sequence
  std::string layout, out_layout;
  int64_t heads, kv_heads;
  double scale;

  // A sequence's first n keys, as [n, heads, head size].
  Tensor keys(const std::vector<Tensor>& of, int64_t b, int64_t begin, int64_t n) const {
    if (of.size() > 1) return rows(of[b], layout, 0, 0, n, kv_heads);
    const auto& cache = of[0];
    if (!block_table.defined()) return rows(cache, layout, b, packed(layout) ? begin : 0, n, kv_heads);
    const int64_t block = cache.size(cache.dim() == 3 ? 1 : cache.dim() == 4 ? 2 : 3);
    auto pages = cache.index_select(0, block_table[b].narrow(0, 0, (n + block - 1) / block));
    // [blocks, heads, size / 16, block, 16] is the NZ form
    if (pages.dim() == 5) pages = pages.permute({0, 1, 3, 2, 4}).flatten(3, 4);
    if (pages.dim() == 4) pages = pages.transpose(1, 2);
    return pages.reshape({pages.size(0) * block, kv_heads, -1}).narrow(0, 0, n);
  }

  void operator()() const {
    int64_t q_begin = 0, kv_begin = 0;
    for (int64_t b = 0; b < int64_t(q_lengths.size()); ++b) {
      const int64_t n_q = q_lengths[b], n_kv = kv_lengths[b], from = packed(layout) ? q_begin : 0;
      auto q = rows(query, layout, b, from, n_q, heads), k = keys(key, b, kv_begin, n_kv);
      if (query_rope.defined()) {
        q = at::cat({q, rows(query_rope, layout, b, from, n_q, heads)}, -1);
        k = at::cat({k, keys(key_rope, b, kv_begin, n_kv)}, -1);
      }
      Tensor own_bias;
      if (bias.defined()) own_bias = bias[bias.size(0) == 1 ? 0 : b].narrow(1, 0, n_q).narrow(2, 0, n_kv);
      const auto result =
          attend(q, k, keys(value, b, kv_begin, n_kv), sparsity.hidden(b, n_q, n_kv), own_bias, scale, sink);
      rows(out, out_layout, b, from, n_q, heads).copy_(result.out.transpose(0, 1));
      if (lse.defined() && lse.numel()) {
        auto place = packed(layout) ? lse.narrow(0, from, n_q).transpose(0, 1) : lse[b].narrow(1, 0, n_q);
        place.copy_(result.sum.log().add(result.max));
      }
      q_begin += n_q, kv_begin += n_kv;
    }
  }
};

struct Call {
  const aclTensor* query = nullptr;
  const aclTensorList *key = nullptr, *value = nullptr;
  const aclTensor *bias = nullptr, *mask = nullptr, *block_table = nullptr, *query_rope = nullptr, *key_rope = nullptr,
                  *sink = nullptr;
  std::vector<int64_t> q_lengths{}, kv_lengths{};
  int64_t heads = 1, kv_heads = 0, before = INT64_MAX, after = INT64_MAX, mode = 0, inner = 0, block_size = 0;
  double scale = 1;
  std::string layout{};
  bool want_lse = false;
  std::vector<const aclTensor*> unsupported{};  // quantised forms, shared prefixes, padding on the left
  const aclTensor *out = nullptr, *lse = nullptr;

  std::string q_layout() const { return layout.substr(0, layout.find('_')); }
  std::string out_layout() const {
    const auto line = layout.find('_');
    return line == std::string::npos ? layout : layout.substr(line + 1);
  }
};

bool contiguous(const aclTensor* t) {
  int64_t expected = 1;
  for (size_t d = t->sizes.size(); d-- > 0;) {
    if (t->sizes[d] != 1 && t->strides[d] != expected) return false;
    expected *= t->sizes[d];
  }
  return true;
}

std::string type_limits(const Call& c) {
  const auto* q = c.query;
  if (q->type != ACL_FLOAT16 && q->type != ACL_BF16) return "query is fp16 or bf16 (int8 has no fake)";
  for (const auto* list : {c.key, c.value}) {
    for (const auto* t : list->value) {
      if (t->type != q->type) return "query, key and value differ in type (int8 and int4 keys have no fake)";
      if (!contiguous(t)) return "key and value are contiguous";
    }
  }
  for (const auto* t : {c.query, c.query_rope, c.key_rope, c.mask, c.bias, c.block_table}) {
    if (t && !contiguous(t)) return "query, ropes, mask, pse and block_table are contiguous";
  }
  for (const auto* t : {c.query_rope, c.key_rope}) {
    if (t && t->type != q->type) return "the rope parts have the type of query and key";
  }
  for (const auto* t : c.unsupported) {
    if (t) return "an option that has no fake: quantisation, a shared prefix, padding on the left";
  }
  if (c.bias && (c.bias->type != q->type || c.bias->sizes.size() != 4)) return "pse_shift: query's type, 4 dimensions";
  if (c.inner < 0 || c.inner > 3) return "inner_precise is 0 to 3";
  return "";
}

std::string paging_limits(const Call& c, const Shape& q, int64_t batch) {
  const auto& table = *c.block_table;
  if (table.type != ACL_INT32) return "block_table is int32";
  if (table.sizes.size() != 2 || table.sizes[0] != batch) return "block_table is [batch, blocks]";
  if (c.kv_lengths.empty()) return "paged keys need actual_seq_lengths_kv";
  if (c.key->value.size() != 1) return "paged keys are no list of tensors";
  const auto& cache = c.key->value[0]->sizes;
  if (cache.size() < 3 || cache.size() > 5) return "a paged cache has 3, 4 or 5 dimensions";
  const int64_t block = cache[cache.size() == 3 ? 1 : cache.size() == 4 ? 2 : 3];
  if (c.block_size != block)
    return "block_size is not that of the cache [blocks, block, H] or [blocks, heads, block, D]";
  if (cache.size() > 3 && cache[1] != c.kv_heads) return "the cache's second of 4 dimensions is the heads";
  const auto layout = c.q_layout();
  if (cache.size() == 4 && (layout == "BSH" || layout == "BSND") && !c.query_rope) {
    return "with BSH and BSND a paged cache is [blocks, block, H]";
  }
  if (cache.size() == 3 && cache[2] > 65535) return "H is at most 65535";
  const bool wide = packed(layout) || c.query_rope;
  if (wide           ? block % 16 != 0 || block > 1024
      : q.tokens > 1 ? block % 128 != 0 || block > 512
                     : block % 16 != 0 || block > 512) {
    return wide           ? "block_size is a multiple of 16, at most 1024"
           : q.tokens > 1 ? "block_size is a multiple of 128, at most 512, for more than one query"
                          : "block_size is a multiple of 16, at most 512";
  }
  for (int64_t n : c.kv_lengths) {
    if ((n + block - 1) / block > table.sizes[1]) return "block_table has too few columns for a sequence's length";
  }
  if ((c.mask && c.mode < 2 && c.mask->sizes.back() < table.sizes[1] * block) ||
      (c.bias && c.bias->sizes.back() < table.sizes[1] * block)) {
    return "a mask's last dimension covers all blocks of the table";
  }
  return "";
}

std::string head_limits(const Call& c, const Shape& q, int64_t value_size) {
  if (q.heads != c.heads) return "num_heads is not the query's number of heads";
  if (c.heads < 1 || c.heads > 256) return "1 to 256 heads";
  const int64_t d = q.head_size;
  const int64_t most = c.query_rope && d == 512 ? 128 : 64;  // queries that share keys; more in latent attention
  if (c.heads % c.kv_heads != 0 || c.heads / c.kv_heads > most) return "num_heads is 1 to 64 times num_key_value_heads";
  if (d < 1 || d > 512) return "head sizes are 1 to 512";
  if (d % 16 != 0) return "the head size is a multiple of 16";
  if (bool(c.query_rope) != bool(c.key_rope)) return "query_rope and key_rope come together";
  if (c.query_rope) {
    if (d != 512 && d != 128) return "with rope parts the head size is 512 or 128";
    if (c.query_rope->sizes.back() != (c.q_layout() == "BSH" ? 64 * c.heads : 64)) return "rope parts have the size 64";
    if (d == 512 && (c.kv_heads != 1 || (c.heads & (c.heads - 1)) != 0 || c.heads > 128)) {
      return "a head size of 512: one key head, and a power of two up to 128 query heads";
    }
    if (d == 512 && c.mode != 0 && c.mode != 3 && c.mode != 4) return "a head size of 512: sparse_mode 0, 3 or 4";
  } else if (packed(c.q_layout())) {
    // GQA: 128, or 192 with values of 128; MHA: 64, too.
    const bool good = (d == 128 && value_size == 128) || (d == 192 && (value_size == 128 || value_size == 192)) ||
                      (d == 64 && value_size == 64 && c.heads == c.kv_heads);
    if (!good) return "TND takes head sizes 128, 192 (values 128 or 192), and 64 where all heads have their own keys";
  }
  return "";
}

std::string length_limits(const Call& c, const Shape& q, int64_t batch, int64_t keys) {
  if (packed(c.q_layout())) {
    if (batch > 4096) return "at most 4096 sequences";
    if (auto why = totals_limits(c.q_lengths, q.tokens, "actual_seq_lengths"); !why.empty()) return why;
    if (c.kv_lengths.size() != c.q_lengths.size()) return "actual_seq_lengths_kv differs in length";
    return c.block_table ? "" : totals_limits(c.kv_lengths, keys, "actual_seq_lengths_kv");
  }
  for (const auto* list : {&c.q_lengths, &c.kv_lengths}) {
    if (list->size() > 1 && int64_t(list->size()) < batch) return "a list of lengths has one entry, or one a sequence";
  }
  const auto over = [](int64_t most) { return [most](int64_t n) { return n < 0 || n > most; }; };
  if (q.tokens > 1 && std::any_of(c.q_lengths.begin(), c.q_lengths.end(), over(q.tokens))) {
    return "actual_seq_lengths is above the query's length";
  }
  if (!c.block_table && std::any_of(c.kv_lengths.begin(), c.kv_lengths.end(), over(keys))) {
    return "actual_seq_lengths_kv is above the key's length";
  }
  return "";
}

std::vector<int64_t> for_each_sequence(const std::vector<int64_t>& list, int64_t batch, int64_t otherwise) {
  if (list.empty()) return std::vector<int64_t>(batch, otherwise);
  if (list.size() == 1) return std::vector<int64_t>(batch, list[0]);
  return {list.begin(), list.begin() + batch};
}

// The head size of a paged cache: [blocks, block, H], [blocks, heads, block, D] or [blocks, heads, D / 16, block, 16].
int64_t cached_size(const aclTensor& cache, int64_t heads) {
  const auto& s = cache.sizes;
  return s.size() == 3 ? s[2] / heads : s.size() == 5 ? s[2] * s[4] : s.back();
}

int infer(const char* function, uint64_t* workspace, aclOpExecutor** executor, Call c) {
  const auto refused = [&](const std::string& why) { return refuse(function, why); };
  const auto layout = c.q_layout();
  if (!fits(layout, c.query->sizes) || layout == "SBH" || layout == "NBSD") return refused("unknown layout");
  if (!c.kv_heads) c.kv_heads = c.heads;
  const auto q = shape_of(layout, c.query->sizes, c.heads);
  const int64_t batch = packed(layout) ? int64_t(c.q_lengths.size()) : q.batch;
  if (c.key->value.empty() || c.key->value.size() != c.value->value.size()) return refused("key and value differ");
  const auto& k0 = *c.key->value[0];
  const auto& v0 = *c.value->value[0];
  if (!c.block_table && (!fits(layout, k0.sizes) || !fits(layout, v0.sizes))) return refused("key has another layout");
  const auto k = c.block_table ? Shape{} : shape_of(layout, k0.sizes, c.kv_heads);
  if (!c.block_table && k.heads != c.kv_heads) return refused("num_key_value_heads is not the key's number of heads");
  const int64_t value_size =
      c.block_table ? cached_size(v0, c.kv_heads) : shape_of(layout, v0.sizes, c.kv_heads).head_size;
  for (const auto& why : {type_limits(c), head_limits(c, q, value_size), length_limits(c, q, batch, k.tokens)}) {
    if (!why.empty()) return refused(why);
  }
  const int64_t key_size = c.block_table ? cached_size(k0, c.kv_heads) : k.head_size;
  if (key_size != q.head_size) return refused("query and key differ in head size");
  if (!c.block_table && c.key->value.size() == 1 && k.batch != q.batch) return refused("query and key differ in batch");
  if (packed(layout) && c.mask && c.mode < 2) return refused("with TND a mask goes with sparse modes 2 to 4");
  if (c.block_table) {
    if (auto why = paging_limits(c, q, batch); !why.empty()) return refused(why);
  }
  std::vector<int64_t> q_lengths, kv_lengths;
  if (packed(layout)) {
    q_lengths = lengths(c.q_lengths);
    kv_lengths = c.block_table ? c.kv_lengths : lengths(c.kv_lengths);
  } else {
    q_lengths = for_each_sequence(q.tokens == 1 ? std::vector<int64_t>{} : c.q_lengths, batch, q.tokens);
    kv_lengths = for_each_sequence(c.kv_lengths, batch, k.tokens);
    if (c.key->value.size() > 1 && c.kv_lengths.empty()) {
      for (int64_t b = 0; b < batch; ++b) kv_lengths[b] = shape_of(layout, c.key->value[b]->sizes, c.kv_heads).tokens;
    }
    if (q.tokens == 1 && !c.query_rope) {  // modes mean nothing then, nor does their mask
      if (c.mode >= 2) c.mask = nullptr;
      c.mode = 0, c.before = c.after = INT64_MAX;
    }
  }
  const auto longest = [](const std::vector<int64_t>& n) {
    return n.empty() ? 0 : *std::max_element(n.begin(), n.end());
  };
  if (!packed(layout) || c.mode >= 2) {
    if (auto why = mask_limits(c.mask, c.mode, q, longest(kv_lengths), packed(layout)); !why.empty())
      return refused(why);
    if (c.mode >= 2 && !c.mask) return refused("sparse modes 2 to 4 need their mask of 2048 x 2048");
  }
  Sparsity sparsity{c.mode, c.before, c.after, view(c.mask), q.tokens == 1 && !packed(layout)};
  return plan(workspace, executor,
              Inference{view(c.query), view(c.query_rope), view(c.bias), view(c.block_table), view(c.sink), view(c.out),
                        c.want_lse ? view(c.lse) : Tensor(), views(c.key), views(c.value),
                        c.key_rope ? std::vector<Tensor>{view(c.key_rope)} : std::vector<Tensor>{}, sparsity, q_lengths,
                        kv_lengths, layout, c.out_layout(), c.heads, c.kv_heads, c.scale});
}
}  // namespace

#define FIA_TENSORS                                                                                                 \
  const aclTensor *query, const aclTensorList *key, const aclTensorList *value, const aclTensor *bias,              \
      const aclTensor *mask, const aclIntArray *q_lengths, const aclIntArray *kv_lengths, const aclTensor *t1,      \
      const aclTensor *t2, const aclTensor *t3, const aclTensor *t4, const aclTensor *t5, const aclTensor *t6,      \
      const aclTensor *t7, const aclTensor *block_table, const aclTensor *t8, const aclTensor *t9,                  \
      const aclTensor *t10, const aclTensor *t11, const aclTensor *t12, const aclTensor *t13, const aclTensor *t14, \
      const aclTensor *t15, const aclIntArray *, const aclTensor *query_rope, const aclTensor *key_rope,            \
      const aclTensor *t16
#define FIA_NUMBERS                                                                                               \
  int64_t heads, double scale, int64_t before, int64_t after, const char *layout, int64_t kv_heads, int64_t mode, \
      int64_t inner, int64_t block_size, int64_t, bool want_lse, int64_t, int64_t
#define FIA_CALL(sink_tensor, more)                                                                                   \
  Call c {                                                                                                            \
    query, key, value, bias, mask, block_table, query_rope, key_rope, sink_tensor, ints(q_lengths), ints(kv_lengths), \
        heads, kv_heads, before, after, mode, inner, block_size, scale, layout, want_lse,                             \
        {t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16, more}, out, lse                       \
  }

ACLNN(FusedInferAttentionScoreV3, FIA_TENSORS, FIA_NUMBERS, const aclTensor* out, const aclTensor* lse) {
  NOT_ON_310P;
  FIA_CALL(nullptr, nullptr);
  return infer(__func__, workspace, executor, c);
}
ACLNN(FusedInferAttentionScoreV4, FIA_TENSORS, const aclTensor* query_scale, const aclTensor* sink, FIA_NUMBERS,
      int64_t, const aclTensor* out, const aclTensor* lse) {
  NOT_ON_310P;
  FIA_CALL(sink, query_scale);
  return infer(__func__, workspace, executor, c);
}
// The most that any later call with other lengths needs: what a captured graph is given.
extern "C" int aclnnFusedInferAttentionScoreV3GetMaxWorkspaceSize(FIA_TENSORS, FIA_NUMBERS, const aclTensor* out,
                                                                  const aclTensor* lse, uint64_t* workspace,
                                                                  aclOpExecutor** executor) {
  FIA_CALL(nullptr, nullptr);
  const int status = infer(__func__, workspace, executor, c);
  if (status == ACL_SUCCESS) *workspace *= 2;
  return status;
}
extern "C" int aclnnFusedInferAttentionScoreV4GetMaxWorkspaceSize(FIA_TENSORS, const aclTensor* query_scale,
                                                                  const aclTensor* sink, FIA_NUMBERS, int64_t,
                                                                  const aclTensor* out, const aclTensor* lse,
                                                                  uint64_t* workspace, aclOpExecutor** executor) {
  FIA_CALL(sink, query_scale);
  const int status = infer(__func__, workspace, executor, c);
  if (status == ACL_SUCCESS) *workspace *= 2;
  return status;
}

ACLNN(PromptFlashAttentionV3, const aclTensor* query, const aclTensor* key, const aclTensor* value,
      const aclTensor* bias, const aclTensor* mask, const aclIntArray* q_lengths, const aclIntArray* kv_lengths,
      const aclTensor* t1, const aclTensor* t2, const aclTensor* t3, const aclTensor* t4, const aclTensor* t5,
      int64_t heads, double scale, int64_t before, int64_t after, const char* layout, int64_t kv_heads, int64_t mode,
      int64_t inner, const aclTensor* out) {
  const aclTensorList keys{{key}}, values{{value}};
  Call c{
      .query = query,
      .key = &keys,
      .value = &values,
      .bias = bias,
      .mask = mask,
      .q_lengths = ints(q_lengths),
      .kv_lengths = ints(kv_lengths),
      .heads = heads,
      .kv_heads = kv_heads,
      .before = before,
      .after = after,
      .mode = mode,
      .inner = inner,
      .scale = scale,
      .layout = layout,
      .unsupported = {t1, t2, t3, t4, t5},
      .out = out,
  };
  return infer(__func__, workspace, executor, c);
}
ACLNN(IncreFlashAttentionV4, const aclTensor* query, const aclTensorList* key, const aclTensorList* value,
      const aclTensor* bias, const aclTensor* mask, const aclIntArray* kv_lengths, const aclTensor* t1,
      const aclTensor* t2, const aclTensor* t3, const aclTensor* t4, const aclTensor* t5, const aclTensor* t6,
      const aclTensor* t7, const aclTensor* block_table, const aclTensor* t8, int64_t heads, double scale,
      const char* layout, int64_t kv_heads, int64_t block_size, int64_t inner, const aclTensor* out) {
  Call c{
      .query = query,
      .key = key,
      .value = value,
      .bias = bias,
      .mask = mask,
      .block_table = block_table,
      .kv_lengths = ints(kv_lengths),
      .heads = heads,
      .kv_heads = kv_heads,
      .inner = inner,
      .block_size = block_size,
      .scale = scale,
      .layout = layout,
      .unsupported = {t1, t2, t3, t4, t5, t6, t7, t8},
      .out = out,
  };
  if (shape_of(c.q_layout(), query->sizes, heads).tokens != 1) return refuse(__func__, "takes one query a sequence");
  return infer(__func__, workspace, executor, c);
}
