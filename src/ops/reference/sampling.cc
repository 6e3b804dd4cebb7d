// The meaning of the operation of sampling.h.
#include "ops/sampling.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>

namespace cairn::ops::reference {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Numbers of the host beside the logits, in their dtype.
Tensor moved(const Tensor& logits, const std::vector<double>& v) {
  return at::tensor(v).to(logits.scalar_type()).to(logits.device());
}

void touch(const Tensor& logits, const Sampling& how) {
  const int64_t vocabulary = logits.size(1);
  std::vector<int64_t> places;
  std::vector<double> bias, off, weaker;
  for (size_t i = 0; i < how.rows.size(); ++i) {
    const SampleRow& row = how.rows[i];
    for (int32_t j = row.first_touch; j < row.first_touch + row.touches; ++j) {
      const Touch& t = how.touches[static_cast<size_t>(j)];
      if (t.token < 0 || t.token >= vocabulary) continue;
      places.push_back(static_cast<int64_t>(i) * vocabulary + t.token);
      bias.push_back(double{t.bias});
      off.push_back(t.flags & Touch::kBanned ? -kNever : t.count ? row.frequency * t.count + row.presence : 0);
      weaker.push_back(t.flags & Touch::kRepeated ? row.repetition : 1);
    }
  }
  if (places.empty()) return;
  const Tensor index = at::tensor(places).to(logits.device()), all = logits.view(-1), penalty = moved(logits, weaker);
  const Tensor x = all.index_select(0, index) + moved(logits, bias) - moved(logits, off);
  all.index_copy_(0, index, at::where(x.gt(0), x.div(penalty), x * penalty));
}

void mask(const Tensor& logits, const Sampling& how) {
  const int64_t vocabulary = logits.size(1);
  for (size_t i = 0; i < how.rows.size(); ++i) {
    if (how.rows[i].allowed < 0) continue;
    const uint32_t* words = how.allowed.data() + how.rows[i].allowed * how.allowed_words;
    const Tensor hidden = empty({vocabulary}, Dtype::Bool);
    auto* out = static_cast<bool*>(hidden.mutable_data_ptr());
    for (int64_t t = 0; t < vocabulary; ++t) out[t] = t / 32 >= how.allowed_words || !(words[t / 32] >> (t % 32) & 1);
    logits.select(0, static_cast<int64_t>(i)).masked_fill_(hidden.to(logits.device()), kNever);
  }
}

// Where `is` first holds in each row, (rows, 1); the width where it never does.
Tensor first(const Tensor& is) {
  const int64_t width = is.size(1);
  return at::where(is, at::arange(width, at::dtype(Dtype::Long).device(is.device())), width).amin(1, true);
}

// Where the weights, summed in their order, exceed that share of the first `count` of them.
Tensor drawn(const Tensor& sums, const Tensor& weights, const Tensor& count, const Tensor& uniform) {
  // Nearer to 1, rounding could leave nothing above the share.
  const Tensor share = uniform.clamp_max(1 - 0x1p-20) * sums.gather(1, count.sub(1));
  return first(sums.gt(share).logical_and(weights.gt(0)));
}

// What rows ask for, (rows, 1) each.
struct Columns {
  Columns(const Tensor& logits, const std::vector<SampleRow>& rows) {
    std::vector<double> v;
    for (const SampleRow& r : rows) {
      const bool cuts = r.cuts() && !r.greedy;
      draws |= !r.greedy;
      any_cuts |= cuts;
      const auto k = static_cast<double>(r.top_k < 0 ? logits.size(1) : std::min(r.top_k, logits.size(1)));
      v.insert(v.end(), {r.uniform, r.greedy ? 1 : 1 / r.temperature, r.greedy ? 1.0 : 0.0, cuts ? 1.0 : 0.0, k,
                         r.top_p < 1 ? r.top_p : 2, r.min_p});
    }
    const Tensor all = moved(logits, v).view({static_cast<int64_t>(rows.size()), -1});
    Tensor* each[] = {&uniform, &scale, &greedy, &cut, &top_k, &top_p, &min_p};
    for (int64_t i = 0; i < all.size(1); ++i) *each[i] = all.narrow(1, i, 1);
  }
  Tensor uniform, scale, greedy, cut, top_k, top_p, min_p;
  bool draws = false, any_cuts = false;  // some of them
};

}  // namespace

std::vector<Sampled> sample(const Tensor& logits, const Sampling& how) {
  touch(logits, how);
  mask(logits, how);
  const Columns of(logits, how.rows);
  const int64_t last = logits.size(1) - 1;
  const Tensor top = logits.amax(1, true), odd = logits.ne(logits).any(1, true);
  const Tensor scaled = (logits - top) * of.scale, weights = scaled.exp();
  Tensor token = first(logits.eq(top));
  if (of.draws) {
    const Tensor all = at::full_like(top, last + 1, Dtype::Long);
    token = at::where(of.greedy.gt(0), token, drawn(weights.cumsum(1), weights, all, of.uniform));
  }
  if (of.any_cuts) {
    const auto [sorted, ids] = logits.sort(true, 1, true);
    const Tensor likely = ((sorted - top) * of.scale).exp(), run = likely.cumsum(1);
    // A prefix of the order: as many as top-k lets through, as reach top-p's share, and as min-p finds likely enough.
    const Tensor kept = likely.gt(0).logical_and(likely.ge(of.min_p)).sum(1, true);
    const Tensor reached = first(run.gt(run.narrow(1, last, 1) * of.top_p)).add(1);
    const Tensor count = of.top_k.to(Dtype::Long).minimum(reached).minimum(kept).clamp_min(1);
    token = at::where(of.cut.gt(0), ids.gather(1, drawn(run, likely, count, of.uniform).clamp_max(last)), token);
  }
  token = token.clamp_max(last);
  const Tensor logprob = scaled.gather(1, token) - weights.sum(1, true).log();

  const auto fp32 = [](const Tensor& t) { return t.to(kF32); };  // token ids are exact in it
  const Tensor read = on_host(at::cat({fp32(token), fp32(top), fp32(odd), fp32(logprob)}, 1));
  const auto* p = read.const_data_ptr<float>();
  std::vector<Sampled> out(how.rows.size());
  for (Sampled& s : out) {
    const float highest = p[1];
    if (p[2] != 0 || highest == std::numeric_limits<float>::infinity())
      s = {-1, Sampled::kNotNumbers, 0};
    else if (highest == -std::numeric_limits<float>::infinity())
      s = {-1, Sampled::kNoneMayFollow, 0};
    else
      s = {static_cast<int32_t>(p[0]), Sampled::kChosen, p[3]};
    p += 4;
  }
  return out;
}

}  // namespace cairn::ops::reference
