// npu_mla_prolog_v2: what stands before latent attention, in bf16: queries down and up again, their rope part, and the
// latent keys with their rope part into the paged cache. Sizes and types are those of its documentation. The rope parts
// are taken in pairs and given back as halves, as npu_interleave_rope does.
#include <ATen/ops/cat.h>

#include <cstring>

#include "operator.h"

namespace {
using at::Tensor;
using fake::plan;
using fake::store;
using fake::view;

Tensor normed(const Tensor& x, const Tensor& gamma, double epsilon) {
  return x.mul(x.square().mean(-1, true).add(epsilon).rsqrt())
      .mul(gamma.to(at::kFloat))
      .to(at::kBFloat16)
      .to(at::kFloat);
}
Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const auto halves = x.unflatten(-1, {-1, 2});
  const auto a = halves.select(-1, 0), b = halves.select(-1, 1);
  return at::cat({a, b}, -1).mul(cos).add(at::cat({b.neg(), a}, -1).mul(sin));
}

struct Prolog {
  Tensor x, down_q, up_q, up_k, down_kv, gamma_q, gamma_kv, sin, cos, index, cache, rope_cache, query, query_rope;
  double epsilon_q, epsilon_kv;

  void operator()() const {
    const int64_t heads = up_k.size(0), size = up_k.size(1), latent = up_k.size(2), rope = sin.size(-1);
    const auto wide = [](const Tensor& t) { return t.to(at::kFloat); };
    const auto rows = wide(x).flatten(0, -2);
    const auto s = wide(sin).view({-1, rope}), c = wide(cos).view({-1, rope});
    const auto q =
        normed(rows.matmul(wide(down_q)), gamma_q, epsilon_q).matmul(wide(up_q)).view({-1, heads, size + rope});
    const auto plain = q.narrow(2, 0, size).transpose(0, 1).matmul(wide(up_k)).transpose(0, 1);
    store(query, plain.reshape(query.sizes()));
    store(query_rope, turned(q.narrow(2, size, rope), c.unsqueeze(1), s.unsqueeze(1)).reshape(query_rope.sizes()));
    const auto kv = rows.matmul(wide(down_kv));
    const auto slots = index.flatten();
    const auto put = [&](const Tensor& into, const Tensor& values) {
      into.flatten(0, 2).index_copy_(0, slots, values.to(into.scalar_type()));
    };
    put(cache, normed(kv.narrow(1, 0, latent), gamma_kv, epsilon_kv));
    put(rope_cache, turned(kv.narrow(1, latent, rope), c, s));
  }
};
}  // namespace

ACLNN(MlaPrologV2WeightNz, const aclTensor* x, const aclTensor* down_q, const aclTensor* up_q, const aclTensor* up_k,
      const aclTensor* down_kv, const aclTensor* gamma_q, const aclTensor* gamma_kv, const aclTensor* sin,
      const aclTensor* cos, const aclTensor* index, const aclTensor* cache, const aclTensor* rope_cache,
      const aclTensor* s1, const aclTensor* s2, const aclTensor* s3, const aclTensor* s4, const aclTensor* s5,
      const aclTensor* s6, const aclTensor* s7, double epsilon_q, double epsilon_kv, const char* mode, aclTensor* query,
      aclTensor* query_rope, aclTensor*) {
  NOT_ON_310P;
  for (const auto* t : {s1, s2, s3, s4, s5, s6, s7}) REQUIRE(!t, "the quantised forms have no fake");
  for (const auto* t : {x, down_q, up_q, up_k, down_kv, gamma_q, gamma_kv, sin, cos, cache, rope_cache}) {
    REQUIRE(t->type == ACL_BF16, "takes bf16");
  }
  for (const auto* t : {down_q, up_q, down_kv})
    REQUIRE(t->format == ACL_FORMAT_FRACTAL_NZ, "the weights but uk are NZ");
  REQUIRE(std::strncmp(mode, "PA_BSND", 7) == 0, "only PA_BSND has a fake");
  REQUIRE(index->type == ACL_INT64, "cache_index is int64");
  const auto &k = up_k->sizes, &blocks = cache->sizes;
  REQUIRE(down_q->sizes == (std::vector<int64_t>{7168, 1536}), "weight_dq is [7168, 1536]");
  REQUIRE(k[0] >= 1 && k[0] <= 128 && (k[0] & (k[0] - 1)) == 0 && k[1] == 128 && k[2] == 512,
          "weight_uk is [a power of two to 128, 128, 512]");
  REQUIRE(up_q->sizes == (std::vector<int64_t>{1536, k[0] * 192}), "weight_uq_qr is [1536, heads * 192]");
  REQUIRE(down_kv->sizes == (std::vector<int64_t>{7168, 576}), "weight_dkv_kr is [7168, 576]");
  REQUIRE(blocks.size() == 4 && (blocks[1] == 16 || blocks[1] == 128) && blocks[2] == 1 && blocks[3] == 512,
          "kv_cache is [blocks, 16 or 128, 1, 512]");
  REQUIRE(rope_cache->sizes.size() == 4 && rope_cache->sizes[3] == 64, "kr_cache is [blocks, block, 1, 64]");
  return plan(workspace, executor,
              Prolog{view(x), view(down_q), view(up_q), view(up_k), view(down_kv), view(gamma_q), view(gamma_kv),
                     view(sin), view(cos), view(index), view(cache), view(rope_cache), view(query), view(query_rope),
                     epsilon_q, epsilon_kv});
}
