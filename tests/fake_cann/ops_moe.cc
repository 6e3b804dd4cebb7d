// Mixture of experts: gating, routing, and gathering of the experts' results. The meaning is that of the numpy forms in
// torch_npu's documentation of each operator; so are the limits.
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/full.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "operator.h"

namespace {
using at::Tensor;
using fake::ints;
using fake::plan;
using fake::store;
using fake::view;

bool is_float(const aclTensor* t) { return t->type == ACL_FLOAT || t->type == ACL_FLOAT16 || t->type == ACL_BF16; }
constexpr const char* kFloats = "takes fp32, fp16 and bf16";

// Of equal values the first comes first.
std::pair<Tensor, Tensor> largest(const Tensor& x, int64_t k) {
  const auto [values, indices] = x.sort(std::optional<bool>(true), -1, true);
  return {values.narrow(-1, 0, k), indices.narrow(-1, 0, k)};
}
}  // namespace

// ---- gating ----
namespace {
struct Gate {
  Tensor x, bias, ids, table, y, index, scores;
  int64_t k, k_group, groups, group_mode, norm;
  bool want_scores;
  double factor, epsilon;

  void operator()() const {
    const auto f = x.to(at::kFloat);
    const auto score = norm == 0 ? f.softmax(-1) : f.sigmoid();
    auto chosen = bias.defined() ? score.add(bias.to(at::kFloat)) : score;
    if (groups > 1) {
      const auto grouped = chosen.unflatten(-1, {groups, -1});
      const auto worth = group_mode == 0 ? grouped.amax(-1) : std::get<0>(grouped.topk(2, -1)).sum(-1);
      auto hidden = at::full(worth.sizes(), true, at::kBool);
      hidden.scatter_(-1, largest(worth, k_group).second, false);
      chosen = grouped.masked_fill(hidden.unsqueeze(-1), -std::numeric_limits<float>::infinity()).flatten(-2);
    }
    const auto at = table.defined() ? table.index_select(0, ids).to(at::kLong) : largest(chosen, k).second;
    auto weight = score.gather(-1, at);
    if (norm == 1) weight = weight.div(weight.sum(-1, true).add(epsilon));
    store(y, weight.mul(factor));
    store(index, at);
    if (want_scores) store(scores, score);
  }
};
int gate(const char* function, uint64_t* workspace, aclOpExecutor** executor, const aclTensor* x, const aclTensor* bias,
         const aclTensor* ids, const aclTensor* table, int64_t k, int64_t k_group, int64_t groups, int64_t group_mode,
         int64_t renorm, int64_t norm, bool want_scores, double factor, double epsilon, aclTensor* y, aclTensor* index,
         aclTensor* scores) {
  const auto refused = [&](const char* why) { return fake::refuse(function, why); };
  if (!is_float(x) || (bias && bias->type != x->type)) return refused("x and bias are fp32, fp16 or bf16, the same");
  const int64_t experts = x->sizes.back();
  if (x->sizes.size() != 2 || experts > 2048) return refused("x has 2 dimensions and at most 2048 experts");
  if (groups < 1 || experts % groups != 0) return refused("group_count divides the experts");
  const int64_t each = experts / groups;
  if (groups > 1 && (each <= 2 || (each + 31) / 32 * 32 * groups > 2048))
    return refused("a group has more than 2 experts");
  if (k_group < 1 || k_group > groups || k < 1 || k > each * k_group) return refused("k or k_group is out of range");
  if (renorm != 0) return refused("renorm is 0");
  if (norm != 0 && norm != 1) return refused("norm_type is 0 or 1");
  if (group_mode != 0 && group_mode != 1) return refused("group_select_mode is 0 or 1");
  return plan(workspace, executor,
              Gate{view(x), view(bias), view(ids), view(table), view(y), view(index), view(scores), k, k_group, groups,
                   group_mode, norm, want_scores, factor, epsilon});
}
}  // namespace
ACLNN(MoeGatingTopK, const aclTensor* x, const aclTensor* bias, int64_t k, int64_t k_group, int64_t groups,
      int64_t group_mode, int64_t renorm, int64_t norm, bool want_scores, double factor, double epsilon, aclTensor* y,
      aclTensor* index, aclTensor* scores) {
  NOT_ON_310P;
  return gate(__func__, workspace, executor, x, bias, nullptr, nullptr, k, k_group, groups, group_mode, renorm, norm,
              want_scores, factor, epsilon, y, index, scores);
}
ACLNN(MoeGatingTopKV2, const aclTensor* x, const aclTensor* bias, const aclTensor* ids, const aclTensor* table,
      int64_t k, int64_t k_group, int64_t groups, int64_t group_mode, int64_t renorm, int64_t norm, bool want_scores,
      double factor, double epsilon, aclTensor* y, aclTensor* index, aclTensor* scores) {
  NOT_ON_310P;
  return gate(__func__, workspace, executor, x, bias, ids, table, k, k_group, groups, group_mode, renorm, norm,
              want_scores, factor, epsilon, y, index, scores);
}
// Rows that are finished go to an expert past the last.
ACLNN(MoeGatingTopKSoftmax, const aclTensor* x, const aclTensor* finished, int64_t k, aclTensor* y, aclTensor* index,
      aclTensor* row) {
  NOT_ON_310P;
  REQUIRE(is_float(x), kFloats);
  REQUIRE(k > 0 && k <= x->sizes.back() && k <= 1024, "k is at most the experts and 1024");
  return plan(workspace, executor,
              [=, f = view(x), done = view(finished), out = view(y), i = view(index), r = view(row)] {
                const auto [weight, expert] = largest(f.to(at::kFloat).softmax(-1), k);
                store(out, weight);
                store(i, done.defined() ? expert.masked_fill(done.unsqueeze(-1), f.size(-1)) : expert);
                const int64_t rows = f.numel() / f.size(-1);
                store(r, at::arange(rows * k).view({k, rows}).t().reshape(r.sizes()));
              });
}
ACLNN(MoeGatingTopKSoftmaxV2, const aclTensor* x, const aclTensor* finished, int64_t k, int64_t renorm,
      bool want_scores, aclTensor* y, aclTensor* index, aclTensor* scores) {
  NOT_ON_310P;
  REQUIRE(is_float(x), kFloats);
  REQUIRE(k > 0 && k <= x->sizes.back() && k <= 1024, "k is at most the experts and 1024");
  return plan(workspace, executor,
              [=, f = view(x), done = view(finished), out = view(y), i = view(index), s = view(scores)] {
                const auto score = f.to(at::kFloat).softmax(-1);
                const auto [weight, expert] = largest(renorm ? f.to(at::kFloat) : score, k);
                store(out, renorm ? weight.softmax(-1) : weight);
                store(i, done.defined() ? expert.masked_fill(done.unsqueeze(-1), f.size(-1)) : expert);
                if (want_scores) store(s, score);
              });
}

// ---- routing: rows sorted by their expert ----
namespace {
struct Route {
  Tensor x, expert, scale, offset, out, row, tokens, out_scale;
  int64_t active, capacity, experts, pad, count_kind, quant, first, last, row_kind;
  bool want_tokens;

  // Symmetric to int8, one scale a row.
  void quantise(const Tensor& rows, const Tensor& smooth, const Tensor& target, const Tensor& scales) const {
    auto f = rows.to(at::kFloat);
    if (smooth.defined()) f = f.mul(smooth);
    const auto s = f.abs().amax(-1).div(127);
    store(target, f.div(s.clamp_min(1e-30).unsqueeze(-1)).round().clamp(-128, 127));
    if (scales.numel()) store(scales, s);
  }
  void emit(const Tensor& rows, const Tensor& of_expert, const Tensor& source, const Tensor& target,
            const Tensor& scales) const {
    if (quant == 1) {
      quantise(rows,
               !scale.defined()     ? scale
               : scale.size(0) == 1 ? scale
                                    : scale.index_select(0, of_expert.sub(first)),
               target, scales);
    } else if (quant == 0) {
      const auto f = rows.to(at::kHalf).mul(scale.to(at::kHalf)).add(offset.to(at::kHalf));
      store(target, f.round().clamp(-128, 127));
    } else {
      store(target, rows);
      if (scale.defined() && scales.numel()) store(scales, scale.index_select(0, source));
    }
  }
  void operator()() const {
    const int64_t k = expert.size(1);
    const auto flat = expert.flatten().to(at::kLong);
    TORCH_CHECK(
        flat.numel() == 0 || (flat.min().item<int64_t>() >= 0 && (experts < 1 || flat.max().item<int64_t>() < experts)),
        "expert_idx holds an expert that does not exist");
    const auto own = flat.ge(first).logical_and(flat.lt(last));
    const int64_t available = own.sum().item<int64_t>();
    const auto [sorted, order] = flat.masked_fill(own.logical_not(), std::numeric_limits<int32_t>::max())
                                     .sort(std::optional<bool>(true), 0, false);
    const auto mine = order.narrow(0, 0, available), by = sorted.narrow(0, 0, available);
    const auto counts = at::bincount(by.sub(first), {}, last - first);
    if (want_tokens) {
      if (pad == 1 || count_kind == 1) {
        store(tokens, counts);
      } else if (count_kind == 0) {
        store(tokens, counts.cumsum(0));
      } else {
        const auto used = counts.nonzero().flatten();
        auto pairs = at::zeros({tokens.size(0), 2}, at::kLong);
        pairs.narrow(0, 0, used.numel()).select(1, 0).copy_(used.add(first));
        pairs.narrow(0, 0, used.numel()).select(1, 1).copy_(counts.index_select(0, used));
        store(tokens, pairs);
      }
    }
    if (pad == 1) return padded(k, mine, by, counts);
    if (row_kind == 1) {
      store(row, order);
    } else {
      auto places = at::full({flat.numel()}, -1, at::kLong);
      places.index_put_({std::optional(mine)}, at::arange(available));
      store(row, places);
    }
    const int64_t n = active > 0 ? std::min(active, available) : available;
    const auto source = mine.narrow(0, 0, n).floor_divide(k);
    emit(x.index_select(0, source), by.narrow(0, 0, n), source, out.narrow(0, 0, n),
         out_scale.numel() ? out_scale.narrow(0, 0, n) : out_scale);
  }
  // Each expert has `capacity` rows: what is over is dropped, what is missing is zero.
  void padded(int64_t k, const Tensor& mine, const Tensor& by, const Tensor& counts) const {
    const auto begin = counts.cumsum(0).sub(counts);
    const auto rank = at::arange(by.numel()).sub(begin.index_select(0, by.sub(first)));
    const auto kept = rank.lt(capacity).nonzero().flatten();
    const auto slot = by.index_select(0, kept).mul(capacity).add(rank.index_select(0, kept));
    const auto from = mine.index_select(0, kept);
    auto places = at::full({row.numel()}, -1, at::kLong);
    places.index_put_({std::optional(from)}, slot);
    store(row, places);
    auto target = at::zeros({kept.numel(), x.size(1)}, out.options());
    auto scales = at::zeros({out_scale.numel() ? kept.numel() : 0}, at::kFloat);
    const auto source = from.floor_divide(k);
    emit(x.index_select(0, source), by.index_select(0, kept), source, target, scales);
    auto all = at::zeros({experts * capacity, x.size(1)}, out.options());
    all.index_put_({std::optional(slot)}, target);
    store(out, all.view(out.sizes()));
    if (out_scale.numel()) {
      auto every = at::zeros({out_scale.numel()}, at::kFloat);
      every.index_put_({std::optional(slot)}, scales);
      store(out_scale, every);
    }
  }
};
}  // namespace
ACLNN(MoeInitRoutingV3, const aclTensor* x, const aclTensor* expert, const aclTensor* scale, const aclTensor* offset,
      int64_t active, int64_t capacity, int64_t experts, int64_t pad, int64_t count_kind, bool want_tokens,
      int64_t quant, const aclIntArray* range, int64_t row_kind, aclTensor* out, aclTensor* row, aclTensor* tokens,
      aclTensor* out_scale) {
  REQUIRE(is_float(x) || x->type == ACL_INT8, "x is fp32, fp16, bf16 or int8");
  REQUIRE(x->sizes.size() == 2 && expert->sizes.size() == 2 && x->sizes[0] == expert->sizes[0],
          "x and expert_idx: rows");
  REQUIRE(expert->type == ACL_INT32, "expert_idx is int32");
  REQUIRE(quant >= -1 && quant <= 1, "quant_mode -1, 0 and 1 have fakes");
  REQUIRE(!scale || scale->type == ACL_FLOAT, "scale is fp32");
  REQUIRE(quant != 0 || (scale && offset && scale->sizes == std::vector<int64_t>{1}),
          "static: scale and offset are [1]");
  REQUIRE(quant == 0 || !offset, "only static quantisation has an offset");
  REQUIRE(pad == 0 || pad == 1, "drop_pad_mode is 0 or 1");
  REQUIRE(pad == 0 || (capacity > 0 && capacity < x->sizes[0]), "expert_capacity is above 0 and below the rows");
  REQUIRE(count_kind >= 0 && count_kind <= 2, "expert_tokens_num_type is 0 to 2");
  REQUIRE(row_kind == 0 || row_kind == 1, "row_idx_type is 0 or 1");
  REQUIRE(active >= -1, "active_num is at least -1");
  REQUIRE(experts <= (count_kind == 2 ? 5120 : 10240), "too many experts");
  const auto given = ints(range);
  const int64_t first = given.empty() ? 0 : given[0], last = given.empty() ? experts : given[1];
  REQUIRE(first >= 0 && first < last && last <= experts, "active_expert_range lies in the experts");
  REQUIRE(pad == 0 || (first == 0 && last == experts), "padding takes all experts");
  return plan(
      workspace, executor,
      Route{view(x), view(expert), view(scale), view(offset), view(out), view(row), view(tokens), view(out_scale),
            active, capacity, experts, pad, count_kind, quant, first, last, row_kind, want_tokens});
}
ACLNN(MoeInitRouting, const aclTensor* x, const aclTensor* row, const aclTensor* expert, int64_t active, aclTensor* out,
      aclTensor* out_row, aclTensor* out_expert) {
  REQUIRE(is_float(x), kFloats);
  REQUIRE(row->type == ACL_INT32 && expert->type == ACL_INT32, "row_idx and expert_idx are int32");
  return plan(
      workspace, executor,
      [=, f = view(x), r = view(row), e = view(expert), y = view(out), to = view(out_row), by = view(out_expert)] {
        const auto [sorted, order] = e.flatten().sort(std::optional<bool>(true), 0, false);
        store(by, sorted);
        const auto source = r.flatten().to(at::kLong).index_select(0, order);
        store(to,
              at::full({source.numel()}, -1, at::kLong).index_put({std::optional(source)}, at::arange(source.numel())));
        const int64_t n = std::min(active, f.size(0)) * e.size(1);
        store(y, f.index_select(0, source.narrow(0, 0, n).remainder(f.size(0))));
      });
}
// How many rows belong to an expert and those before it.
ACLNN(MoeComputeExpertTokens, const aclTensor* sorted, int64_t experts, aclTensor* out) {
  NOT_ON_310P;
  REQUIRE(sorted->type == ACL_INT32 && sorted->sizes.size() == 1, "int32, one dimension");
  REQUIRE(experts > 0 && experts <= 2048, "1 to 2048 experts");
  return plan(workspace, executor, [=, s = view(sorted), y = view(out)] {
    store(y, at::searchsorted(s, at::arange(experts, at::kInt), false, true));
  });
}

// ---- the weighted sum of what the experts made of a row ----
namespace {
struct Finalize {
  Tensor rows, place, skip1, skip2, bias, scales, expert, out;
  bool by_row;

  void operator()() const {
    const int64_t n = out.size(0), k = scales.defined() ? scales.size(1) : 1, width = rows.size(-1);
    const auto index = (by_row ? place.view({n, k}) : place.view({k, n}).t()).to(at::kLong);
    const auto all = rows.reshape({-1, width}).to(at::kFloat);
    auto value = all.index_select(0, index.clamp_min(0).flatten()).view({n, k, width});
    value = value.masked_fill(index.lt(0).unsqueeze(-1), 0);  // dropped
    if (bias.defined()) {
      value = value.add(bias.to(at::kFloat).index_select(0, expert.flatten().to(at::kLong)).view({n, k, width}));
    }
    if (scales.defined()) value = value.mul(scales.to(at::kFloat).unsqueeze(-1));
    auto sum = value.sum(1);
    if (skip1.defined()) sum = sum.add(skip1.to(at::kFloat));
    if (skip2.defined()) sum = sum.add(skip2.to(at::kFloat));
    store(out, sum);
  }
};
}  // namespace
ACLNN(MoeFinalizeRoutingV2, const aclTensor* rows, const aclTensor* place, const aclTensor* skip1,
      const aclTensor* skip2, const aclTensor* bias, const aclTensor* scales, const aclTensor* expert, int64_t mode,
      aclTensor* out) {
  NOT_ON_310P;
  REQUIRE(is_float(rows), kFloats);
  for (const auto* t : {skip1, skip2, bias, scales}) {
    REQUIRE(!t || t->type == rows->type, "skips, bias and scales have the type of the rows");
  }
  REQUIRE(place->type == ACL_INT32 && (!expert || expert->type == ACL_INT32), "the indices are int32");
  REQUIRE(mode >= 0 && mode <= 3, "drop_pad_mode is 0 to 3");
  REQUIRE(rows->sizes.size() == (mode % 2 ? 3U : 2U),
          "rows are [rows * k, H], or [experts, capacity, H] with dropping");
  REQUIRE(skip1 || !skip2, "skip2 needs skip1");
  REQUIRE(!bias || expert, "a bias needs expert_for_source_row");
  return plan(workspace, executor,
              Finalize{view(rows), view(place), view(skip1), view(skip2), view(bias), view(scales), view(expert),
                       view(out), mode >= 2});
}
