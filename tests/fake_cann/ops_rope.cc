// Rotary position embeddings and writes to the paged cache of keys and values.
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <cstring>

#include "operator.h"

namespace {
using at::Tensor;
using fake::plan;
using fake::store;
using fake::view;

bool is_float(const aclTensor* t) { return t->type == ACL_FLOAT || t->type == ACL_FLOAT16 || t->type == ACL_BF16; }

// half: (x1, x2) -> (-x2, x1) of the two halves; interleaved: of each pair.
Tensor rotate(const Tensor& x, bool interleaved) {
  if (interleaved) {
    const auto pairs = x.unflatten(-1, {-1, 2});
    return at::stack({pairs.select(-1, 1).neg(), pairs.select(-1, 0)}, -1).flatten(-2);
  }
  const auto half = x.chunk(2, -1);
  return at::cat({half[1].neg(), half[0]}, -1);
}
Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const auto f = x.to(at::kFloat);
  return f.mul(cos.to(at::kFloat)).add(rotate(f, interleaved).mul(sin.to(at::kFloat)));
}

// npu_rotary_mul's documentation: 3 or 4 dimensions, an even head size below 896, cos and sin that broadcast to x;
// interleaved: one table for all batches and heads.
std::string rotary_limits(const aclTensor* x, const aclTensor* cos, const aclTensor* sin, int64_t mode) {
  if (!is_float(x)) return "takes fp32, fp16 and bf16";
  if (cos->type != x->type || sin->type != x->type) return "cos and sin differ from x in type";
  const auto& s = x->sizes;
  if (s.size() != 3 && s.size() != 4) return "takes 3 or 4 dimensions";
  if (s.back() % 2 != 0 || s.back() >= 896) return "the head size is even and below 896";
  if (cos->sizes != sin->sizes || cos->sizes.size() != s.size()) return "cos and sin have the dimensions of x";
  int64_t wide = 0;
  for (size_t d = 0; d < s.size(); ++d) {
    if (cos->sizes[d] != s[d] && cos->sizes[d] != 1) return "cos and sin do not broadcast to x";
    wide += d + 1 < s.size() && cos->sizes[d] == s[d] && s[d] > 1;
  }
  if (cos->sizes.back() != s.back()) return "cos and sin have x's head size";
  if (mode == 1 && wide > 1) return "interleaved takes tables that are the same for all batches and heads";
  return mode == 0 || mode == 1 ? "" : "the mode is half or interleave";
}
}  // namespace

ACLNN(RotaryPositionEmbeddingV2, const aclTensor* x, const aclTensor* cos, const aclTensor* sin, int64_t mode,
      const aclTensor* matrix, aclTensor* out) {
  REQUIRE_NONE(rotary_limits(x, cos, sin, mode));
  REQUIRE(!matrix, "the fake has no rotation matrix");
  return plan(workspace, executor,
              [=, t = view(x), c = view(cos), s = view(sin), y = view(out)] { store(y, turned(t, c, s, mode == 1)); });
}
ACLNN(RotaryPositionEmbedding, const aclTensor* x, const aclTensor* cos, const aclTensor* sin, int64_t mode,
      aclTensor* out) {
  return aclnnRotaryPositionEmbeddingV2GetWorkspaceSize(x, cos, sin, mode, nullptr, out, workspace, executor);
}

// In place on query and key. Layouts: 1 BSND, 2 SBND, 3 BNSD, 4 TND. apply_rotary_pos_emb's documentation: fp16, bf16
// and fp32; one type; a head size of 64 or 128 for the tables [B, S, 1, D]; at most one table for all heads.
ACLNN(ApplyRotaryPosEmbV2, aclTensor* query, aclTensor* key, const aclTensor* cos, const aclTensor* sin, int64_t layout,
      const char* mode) {
  NOT_ON_310P;
  REQUIRE(std::strcmp(mode, "quarter") != 0, "the fake has no quarter mode");
  const bool interleaved = std::strcmp(mode, "interleave") == 0;
  for (const auto* t : {query, key}) {
    REQUIRE(is_float(t) && t->type == cos->type && t->type == sin->type, "fp32, fp16 or bf16, the same for all");
    REQUIRE(t->sizes.size() == (layout == 4 ? 3U : 4U), "the layout has other dimensions");
    REQUIRE(t->sizes.back() == cos->sizes.back() && cos->sizes == sin->sizes, "cos and sin have the head size");
    REQUIRE(t->sizes.back() % 2 == 0 && t->sizes.back() <= 1024, "the head size is even and at most 1024");
  }
  REQUIRE(cos->sizes.size() == query->sizes.size(), "cos and sin have the query's dimensions");
  REQUIRE(cos->sizes[layout == 3 ? 1 : cos->sizes.size() - 2] == 1, "cos and sin have one head");
  return plan(workspace, executor, [=, q = view(query), k = view(key), c = view(cos), s = view(sin)] {
    store(q, turned(q, c, s, interleaved));
    store(k, turned(k, c, s, interleaved));
  });
}

// aclnnInterleaveRope: x [B, N, S, 64] holds pairs; the result holds the turned first parts, then the second ones.
ACLNN(InterleaveRope, const aclTensor* x, const aclTensor* cos, const aclTensor* sin, aclTensor* out) {
  NOT_ON_310P;
  REQUIRE((x->type == ACL_FLOAT16 || x->type == ACL_BF16) && cos->type == x->type && sin->type == x->type,
          "takes fp16 and bf16, the same for all");
  REQUIRE(x->sizes.size() == 4 && x->sizes[3] == 64, "x is [B, N, S, 64]");
  REQUIRE(cos->sizes.size() == 4 && cos->sizes == sin->sizes && cos->sizes[1] == 1 && cos->sizes[3] == 64,
          "cos and sin are [B, 1, S, 64]");
  return plan(workspace, executor, [t = view(x), c = view(cos), s = view(sin), y = view(out)] {
    const auto apart = t.unflatten(-1, {-1, 2}).transpose(-1, -2).flatten(-2);
    store(y, turned(apart, c, s, false));
  });
}

// npu_scatter_pa_kv_cache's documentation: keys [tokens, heads, size]; cache_mode Norm: caches [blocks, block, heads,
// size]; PA_NZ: [blocks, heads * size / n, block, n] with n of 32 bytes; slots are int32 or int64, none twice.
namespace {
std::string cache_limits(const aclTensor* x, const aclTensor* cache, const aclTensor* slots, bool nz) {
  if (x->type != cache->type) return "keys, values and caches differ in type";
  if (x->type == ACL_DOUBLE || x->type == ACL_BOOL || x->type == ACL_INT64) return "does not take this type";
  if (slots->type != ACL_INT32 && slots->type != ACL_INT64) return "slot_mapping is int32 or int64";
  if (x->sizes.size() != 3 || cache->sizes.size() != 4)
    return "keys have 3 and caches 4 dimensions (others have no fake)";
  if (slots->sizes.size() != 1 || slots->sizes[0] != x->sizes[0]) return "slot_mapping is not one slot a token";
  const int64_t lane = 32 / int64_t(c10::elementSize(fake::scalar_type(x->type)));
  const auto& c = cache->sizes;
  if (nz ? c[3] != lane || c[1] * lane != x->sizes[1] * x->sizes[2] : c[2] != x->sizes[1] || c[3] != x->sizes[2]) {
    return nz ? "PA_NZ takes caches [blocks, heads * size / n, block, n], n of 32 bytes"
              : "Norm takes caches [blocks, block, heads, size]";
  }
  return "";
}
bool contiguous(const aclTensor* t) { return view(t).is_contiguous(); }

void scatter(const Tensor& x, const Tensor& cache, const Tensor& slots, bool nz) {
  // A slot below zero belongs to a padding token and is skipped.
  const auto token = slots.ge(0).nonzero().flatten();
  auto slot = slots.index_select(0, token).to(at::kLong);
  auto values = x.index_select(0, token);
  // What a slot holds that is written twice is undefined: nobody may read it.
  const auto sorted = std::get<0>(slot.sort());
  const auto twice = sorted.slice(0, 1).masked_select(sorted.diff().eq(0));
  if (twice.numel()) {
    const auto again = slot.unsqueeze(1).eq(twice.unsqueeze(0)).any(1).view({-1, 1, 1});
    values = values.masked_fill(again, values.is_floating_point() ? std::nan("") : -128);
  }
  if (!nz) {
    cache.flatten(0, 1).index_copy_(0, slot, values);
  } else {
    const int64_t block = cache.size(2);
    cache.transpose(1, 2).index_put_({std::optional(slot.floor_divide(block)), std::optional(slot.remainder(block))},
                                     values.reshape({-1, cache.size(1), cache.size(3)}));
  }
}
}  // namespace
ACLNN(ScatterPaKvCache, const aclTensor* key, aclTensor* key_cache, const aclTensor* slots, const aclTensor* value,
      aclTensor* value_cache, const aclTensor* lens, const aclTensor* offsets, const aclTensor* seq_lens,
      const char* cache_mode, const char*, const aclIntArray*, const aclIntArray*) {
  NOT_ON_310P;
  const bool nz = cache_mode && std::strncmp(cache_mode, "PA_NZ", 5) == 0;
  REQUIRE_NONE(cache_limits(key, key_cache, slots, nz));
  REQUIRE_NONE(cache_limits(value, value_cache, slots, nz));
  REQUIRE(!lens && !offsets && !seq_lens, "the fake has no compressed cache");
  REQUIRE(contiguous(key) && contiguous(value) && contiguous(key_cache) && contiguous(value_cache),
          "keys, values and caches are contiguous");
  return plan(workspace, executor,
              [=, k = view(key), kc = view(key_cache), v = view(value), vc = view(value_cache), s = view(slots)] {
                scatter(k, kc, s, nz);
                scatter(v, vc, s, nz);
              });
}
