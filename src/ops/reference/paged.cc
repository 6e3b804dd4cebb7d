// The meaning of the operations of paged.h.
#include "ops/paged.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <vector>

namespace cairn::ops::reference {

void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots) {
  k_cache.flatten(0, 1).index_copy_(0, slots, k.to(k_cache.scalar_type()));
  v_cache.flatten(0, 1).index_copy_(0, slots, v.to(v_cache.scalar_type()));
}

Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule) {
  const Dtype wide = q.scalar_type() == Dtype::Double ? Dtype::Double : kF32;
  const int64_t heads = q.size(1), groups = k.size(2), share = heads / groups, block_size = k.size(1);
  Tensor out = empty({q.size(0), heads * v.size(3)}, q.scalar_type(), q.device());
  for (const PagedSequence& s : paging.sequences) {
    if (s.rows == 0) continue;
    std::vector<int64_t> ids(s.blocks, s.blocks + (s.keys + block_size - 1) / block_size);
    const Tensor blocks = at::tensor(ids).to(k.device());
    const auto gathered = [&](const Tensor& cache) {  // (heads, keys, width)
      return cache.index_select(0, blocks)
          .flatten(0, 1)
          .narrow(0, 0, s.keys)
          .to(wide)
          .repeat_interleave(share, 1)
          .transpose(0, 1);
    };
    const Tensor queries = q.narrow(0, s.row, s.rows).to(wide).transpose(0, 1);
    Tensor scores = at::matmul(queries, gathered(k).transpose(1, 2)) * rule.scale;
    if (rule.softcap > 0) scores = (scores * (1 / rule.softcap)).tanh() * rule.softcap;
    const Tensor key = at::arange(s.keys).unsqueeze(0), token = at::arange(s.keys - s.rows, s.keys).unsqueeze(1);
    Tensor hidden = key.gt(token);
    if (rule.window > 0) hidden = hidden.logical_or(key.le(token - at::tensor(rule.window)));
    scores.masked_fill_(hidden.to(scores.device()), -std::numeric_limits<double>::infinity());
    const Tensor y = at::matmul(at::softmax(scores, -1), gathered(v));  // (heads, rows, width)
    out.narrow(0, s.row, s.rows).copy_(y.transpose(0, 1).flatten(1));
  }
  return out;
}

Tensor split_latent_attention(const Tensor& q, const Tensor& q_rope, const Tensor& latents, const Tensor& ropes,
                              const Paging& paging, const AttentionRule& rule) {
  const int64_t size = latents.size(1), width = latents.size(3);
  Tensor out = empty({q.size(0), q.size(1) * width}, q.scalar_type(), q.device());
  for (const PagedSequence& s : paging.sequences) {
    if (s.rows == 0) continue;
    const std::vector<int64_t> ids(s.blocks, s.blocks + (s.keys + size - 1) / size);
    const Tensor blocks = at::tensor(ids).to(q.device());
    const auto gathered = [&](const Tensor& cache) { return cache.index_select(0, blocks).flatten(0, 1); };
    const auto of = [&](const Tensor& t) { return t.narrow(0, s.row, s.rows); };
    const Tensor keys = at::cat({gathered(latents), gathered(ropes)}, 2).unsqueeze(0);
    const int32_t only = 0;
    const PagedSequence one{.row = 0, .rows = s.rows, .keys = s.keys, .blocks = &only};
    of(out).copy_(paged_attention(at::cat({of(q), of(q_rope)}, 2), keys, keys.narrow(3, 0, width), one, rule));
  }
  return out;
}

Routed route(const Tensor& logits, const Tensor& correction, const RouteRule& rule) {
  const Tensor scores = rule.sigmoid ? logits.sigmoid() : logits.softmax(-1);
  Tensor order = correction.defined() ? scores + correction : scores;
  if (rule.groups > 1) {
    const Tensor groups = order.unflatten(-1, {rule.groups, -1});
    const Tensor worth = rule.pairs ? std::get<0>(groups.topk(2, -1)).sum(-1) : std::get<0>(groups.max(-1));
    const Tensor kept = worth.mul(0).scatter(1, std::get<1>(worth.topk(rule.kept, -1)), 1.0);
    const Tensor dropped = kept.eq(0).unsqueeze(-1).expand_as(groups).flatten(1);
    order = order.masked_fill(dropped, -std::numeric_limits<double>::infinity());
  }
  const Tensor chosen = std::get<1>(order.topk(rule.each, -1));
  Tensor weights = scores.gather(1, chosen);
  if (rule.normalise) weights = weights.div(weights.sum(-1, true) + 1e-20);
  return {chosen, rule.scaling == 1 ? weights : weights * rule.scaling};
}

Tensor experts(const Tensor& x, const Tensor& chosen, const Tensor& weights, at::ArrayRef<Expert> list,
               Activation act) {
  const Tensor host = on_host(chosen).to(Dtype::Long).contiguous();
  const auto* ids = static_cast<const int64_t*>(host.const_data_ptr());
  const int64_t tokens = x.size(0), each = chosen.size(1);
  Tensor out = zeros(x.sizes(), x.scalar_type() == Dtype::Double ? Dtype::Double : kF32, x.device());
  std::vector<std::vector<int64_t>> rows(list.size()), places(list.size());
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t j = 0; j < each; ++j) {
      const int64_t e = ids[t * each + j];
      check(e >= 0 && e < static_cast<int64_t>(list.size()), "a router chooses experts that there are");
      rows[static_cast<size_t>(e)].push_back(t);
      places[static_cast<size_t>(e)].push_back(t * each + j);
    }
  for (size_t e = 0; e < list.size(); ++e) {
    if (rows[e].empty()) continue;
    const Tensor index = at::tensor(rows[e]).to(x.device()), place = at::tensor(places[e]).to(x.device());
    const Tensor h = ops::linear_glu(x.index_select(0, index), list[e].gate, list[e].up, act);
    const Tensor y = ops::linear(h, list[e].down, Activation::kNone, out.scalar_type());
    out.index_add_(0, index, y * weights.flatten().index_select(0, place).unsqueeze(1).to(out.scalar_type()));
  }
  return out;
}

}  // namespace cairn::ops::reference
