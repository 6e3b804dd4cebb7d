#include "ops/cuda/cache_kernels.h"

#include "ops/cuda/cuda.h"
#include "ops/cuda/tensors.h"

namespace cairn::ops::cuda {
namespace {

// The rows of a stream that is given or not; nothing when kernels cannot read them beside those of `after`.
std::optional<Rows> beside(const Tensor& after, const Tensor& before) {
  if (!before.defined()) return Rows{};
  if (before.scalar_type() != after.scalar_type() || before.sizes() != after.sizes()) return {};
  return rows_of(before);
}

std::vector<int64_t> kept_sizes(const Tensor& t, int64_t stride) {
  std::vector<int64_t> sizes = t.sizes().vec();
  sizes.back() = (sizes.back() + stride - 1) / stride;
  return sizes;
}

bool all_plain(at::TensorList list) {
  for (const Tensor& t : list)
    if (!t.is_contiguous() || !type_of(t.scalar_type()) || t.sizes() != list[0].sizes()) return false;
  return static_cast<int64_t>(list.size()) <= kMostTerms;
}

}  // namespace

ops::Change change(const Tensor& after, const Tensor& before, const Tensor& anchor, int64_t stride, double important) {
  const auto x = rows_of(after), y = beside(after, before);
  const auto type = type_of(anchor.scalar_type());
  if (!x || !y || !type || !anchor.is_contiguous()) return reference::change(after, before, anchor, stride, important);
  Change c{.after = *x,
           .before = *y,
           .anchor = anchor.const_data_ptr(),
           .anchor_type = *type,
           .rows = row_count(after),
           .width = after.size(-1),
           .stride = stride,
           .important = important};
  Tensor sums = workspace(after, 2 + change_workspace(c), Dtype::Double);
  c.result = sums.data_ptr<double>();
  launched(change(c, c.result + 2, stream_of(after)));
  const Tensor read = on_host(sums.narrow(0, 0, 2));
  const auto* of = read.const_data_ptr<double>();
  return {of[0], of[1]};
}

void residual(const Tensor& after, const Tensor& before, int64_t stride, Tensor& out) {
  const auto x = rows_of(after), y = beside(after, before);
  if (!x || !y) return reference::residual(after, before, stride, out);
  const auto sizes = kept_sizes(after, stride);
  if (!out.defined() || out.sizes() != at::IntArrayRef(sizes) || out.scalar_type() != after.scalar_type() ||
      !out.is_contiguous())
    out = made(after, sizes, after.scalar_type());
  launched(residual(*x, *y, row_count(after), after.size(-1), stride, out.data_ptr(), stream_of(after)));
}

void taylor_update(const Tensor& after, const Tensor& before, at::TensorList ladder, double gap) {
  const auto x = rows_of(after), y = beside(after, before);
  if (!x || !y || !all_plain(ladder) || ladder[0].sizes() != after.sizes())
    return reference::taylor_update(after, before, ladder, gap);
  Taylor t{.after = *x,
           .before = *y,
           .count = static_cast<int64_t>(ladder.size()),
           .rows = row_count(after),
           .width = after.size(-1),
           .gap = static_cast<float>(gap)};
  for (size_t i = 0; i < ladder.size(); ++i)
    t.levels[i] = ladder[i].data_ptr(), t.types[i] = *type_of(ladder[i].scalar_type());
  launched(taylor_update(t, stream_of(after)));
}

Tensor weighted_sum(at::TensorList terms, const Tensor& base, const std::vector<double>& weights) {
  const auto count = static_cast<int64_t>(terms.size()), numbers = static_cast<int64_t>(weights.size());
  const bool based = base.defined();
  const Dtype dtype = based ? base.scalar_type() : terms[0].scalar_type();
  if (!all_plain(terms) || numbers > kMostWeights || !type_of(dtype) ||
      (based && (!base.is_contiguous() || base.sizes() != terms[0].sizes())))
    return reference::weighted_sum(terms, base, weights);
  const int64_t parts = numbers / count;
  Tensor out = made(terms[0], terms[0].sizes(), dtype);
  WeightedSum w{
      .count = count, .parts = parts, .size = out.numel() / parts, .out = out.data_ptr(), .out_type = *type_of(dtype)};
  if (based) w.base = base.const_data_ptr(), w.base_type = w.out_type;
  for (size_t j = 0; j < terms.size(); ++j)
    w.terms[j] = terms[j].const_data_ptr(), w.types[j] = *type_of(terms[j].scalar_type());
  for (size_t i = 0; i < weights.size(); ++i) w.weights[i] = static_cast<float>(weights[i]);
  launched(weighted_sum(w, stream_of(out)));
  return out;
}

std::vector<double> gram(at::TensorList terms) {
  bool usable = all_plain(terms);
  for (const Tensor& t : terms) usable = usable && t.scalar_type() == terms[0].scalar_type();
  if (!usable) return reference::gram(terms);
  const Tensor& first = terms[0];
  const int64_t rows = first.size(0), count = static_cast<int64_t>(terms.size());
  Gram g{.count = count, .rows = rows, .size = rows > 0 ? first.numel() / rows : 0};
  for (size_t j = 0; j < terms.size(); ++j)
    g.terms[j] = terms[j].const_data_ptr(), g.types[j] = *type_of(terms[j].scalar_type());
  const int64_t results = rows * count * count;
  Tensor sums = workspace(first, results + gram_workspace(g), Dtype::Double);
  g.out = sums.data_ptr<double>();
  launched(gram(g, g.out + results, stream_of(first)));
  const Tensor read = on_host(sums.narrow(0, 0, results));
  const auto* of = read.const_data_ptr<double>();
  return {of, of + results};
}

}  // namespace cairn::ops::cuda
