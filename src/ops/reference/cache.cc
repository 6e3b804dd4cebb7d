#include "ops/cache.h"

#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>

namespace cairn::ops::reference {
namespace {

// fp64 inputs stay fp64: the oracle of the tests.
Tensor wide(const Tensor& t) { return t.scalar_type() == at::kDouble ? t : t.to(kF32); }

Tensor widened(const Tensor& after, const Tensor& before, int64_t stride) {
  const auto part = [&](const Tensor& t) { return wide(t.slice(-1, 0, t.size(-1), stride)); };
  return before.defined() ? part(after) - part(before) : part(after);
}

// Sums over the last dimension, to be added up on the host: in double precision where the device has it.
Tensor row_sums(const Tensor& x) {
  return x.is_cpu() ? x.sum(-1, false, at::kDouble) : on_host(x.to(kF32).sum(-1)).to(at::kDouble);
}

void fit(Tensor& out, const Tensor& like, at::IntArrayRef sizes) {
  if (!out.defined() || out.sizes() != sizes || out.scalar_type() != like.scalar_type() || !out.is_contiguous())
    out = like.new_empty(sizes);
}

}  // namespace

Change change(const Tensor& after, const Tensor& before, const Tensor& anchor, int64_t stride, double important) {
  const Tensor p = wide(anchor), x = widened(after, before, stride);
  Tensor difference = row_sums((p - x).abs()), magnitude = row_sums(p.abs());
  if (important > 0) {
    const Tensor chosen = difference.div(magnitude).gt(important);
    if (chosen.any().item<bool>()) {
      difference = difference.masked_select(chosen);
      magnitude = magnitude.masked_select(chosen);
    }
  }
  return {difference.sum().item<double>(), magnitude.sum().item<double>()};
}

void residual(const Tensor& after, const Tensor& before, int64_t stride, Tensor& out) {
  const Tensor x = widened(after, before, stride);
  fit(out, after, x.sizes());
  out.copy_(x);
}

void taylor_update(const Tensor& after, const Tensor& before, at::TensorList ladder, double gap) {
  Tensor level = widened(after, before, 1);
  for (size_t i = 0; i < ladder.size(); ++i) {
    Tensor next;
    if (i + 1 < ladder.size()) next = (level - wide(ladder[i])).div(gap);
    ladder[i].copy_(level);
    level = next;
  }
}

Tensor weighted_sum(at::TensorList terms, const Tensor& base, const std::vector<double>& weights) {
  const auto count = static_cast<int64_t>(terms.size());
  const Dtype dtype = base.defined() ? base.scalar_type() : terms[0].scalar_type();
  const auto sum = [&](const Tensor& from, int64_t row, const auto& part) {
    Tensor out = from.defined() ? wide(part(from)) : Tensor();
    for (int64_t j = 0; j < count; ++j) {
      const Tensor term = wide(part(terms[static_cast<size_t>(j)])) * weights[static_cast<size_t>(row * count + j)];
      out = out.defined() ? out + term : term;
    }
    return out.to(dtype);
  };
  if (static_cast<int64_t>(weights.size()) == count)
    return sum(base, 0, [](const Tensor& t) { return t; }).contiguous();
  Tensor out = terms[0].new_empty(terms[0].sizes(), dtype);
  for (int64_t n = 0; n < out.size(0); ++n)
    out.select(0, n).copy_(sum(base, n, [&](const Tensor& t) { return t.select(0, n); }));
  return out;
}

std::vector<double> gram(at::TensorList terms) {
  const int64_t rows = terms[0].size(0);
  std::vector<double> out;
  for (int64_t n = 0; n < rows; ++n)
    for (const Tensor& a : terms)
      for (const Tensor& b : terms) {
        const Dtype wide = a.is_cpu() ? at::kDouble : kF32;
        out.push_back(row_sums(a.select(0, n).to(wide) * b.select(0, n).to(wide)).sum().item<double>());
      }
  return out;
}

}  // namespace cairn::ops::reference
