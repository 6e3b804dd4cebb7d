#include <algorithm>
#include <limits>

#include "diffusion/block_graphs.h"
#include "diffusion/denoiser.h"
#include "ops/ops.h"

namespace cairn::diffusion {
namespace {

// Pictures [first, first + n).
Tensor part(const Tensor& all, int64_t first, int64_t n) {
  return !all.defined() || all.size(0) == n ? all : all.narrow(0, first, n);
}

// Whether each begins where the one before it ends.
bool adjoin(const std::vector<Tensor>& parts) {
  const Tensor& first = parts.front();
  int64_t end = first.storage_offset();
  for (const Tensor& t : parts) {
    if (!t.is_alias_of(first) || t.strides() != first.strides() || t.storage_offset() != end) return false;
    end += t.size(0) * t.stride(0);
  }
  return true;
}

// (N_i, R, D) each -> (sum N_i, R, D). What is one tensor already is copied nowhere.
Tensor gathered(const std::vector<Tensor>& parts) {
  const Tensor& first = parts.front();
  if (parts.size() == 1 || !first.defined()) return first;
  int64_t n = 0;
  for (const Tensor& t : parts) n += t.size(0);
  if (adjoin(parts))
    return first.as_strided({n, first.size(1), first.size(2)}, first.strides(), first.storage_offset());
  std::vector<Tensor> pictures;
  pictures.reserve(static_cast<size_t>(n));
  for (const Tensor& t : parts)
    for (int64_t i = 0; i < t.size(0); ++i) pictures.push_back(part(t, i, 1));
  return ops::concat(pictures).view({n, first.size(1), first.size(2)});
}

bool same(const Tensor& a, const Tensor& b) { return a.defined() && b.defined() && a.data_ptr() == b.data_ptr(); }

}  // namespace

void Batch::add(const Input& in, RequestCache& cache) {
  int64_t first = 0;
  if (!members_.empty()) {
    const Member& last = members_.back();
    check(in.latent.size(1) == last.in.latent.size(1) && in.prepared.text.size(1) == last.in.prepared.text.size(1),
          "the requests of a batch have one shape");
    first = last.first + last.pictures;
  }
  all_.push_back(members_.size());
  members_.push_back({in, &cache, first, in.latent.size(0)});
}

Tensor Batch::latents() const {
  std::vector<Tensor> parts;
  for (const Member& m : members_) parts.push_back(m.in.latent);
  return gathered(parts);
}

Tensor Batch::texts() const {
  std::vector<Tensor> parts;
  for (const Member& m : members_) parts.push_back(m.in.prepared.text);
  return gathered(parts);
}

const Tensor& Batch::Modulated::rope() const {
  return fixed_ ? fixed_->rope : batch_->members_.front().in.prepared.rope;
}

Batch::Modulated Batch::Modulated::noting(std::set<size_t>& layers) const {
  Modulated out = *this;
  out.noted_ = &layers;
  return out;
}

Tensor Batch::Modulated::operator[](size_t layer) const {
  if (fixed_) return fixed_->layers.at(layer);
  if (noted_) noted_->insert(layer);
  std::vector<Tensor> parts;
  parts.reserve(members_->size());
  for (const size_t i : *members_) {
    const Input& in = batch_->members_[i].in;
    parts.push_back(in.modulation[layer].select(0, in.row));
  }
  return gathered(parts);
}

std::vector<Tensor> Batch::split(const Tensor& all) const {
  std::vector<Tensor> out;
  for (const Member& m : members_) out.push_back(part(all, m.first, m.pictures));
  return out;
}

Streams Batch::run(std::string_view stack, const Streams& in, int64_t depth, const Blocks& blocks) const {
  std::vector<Walk> walks;
  walks.reserve(members_.size());
  for (const Member& m : members_)
    walks.push_back(
        m.cache->stack(stack, m.in.step.branch)
            .walk(m.in.step, {part(in.hidden, m.first, m.pictures), part(in.encoder, m.first, m.pictures)}, depth));
  std::vector<size_t> ready;
  std::vector<Tensor> hidden, encoder;
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  while (true) {
    Range range{kEnd, kEnd};
    for (const Walk& w : walks)
      if (!w.done()) range.first = std::min(range.first, w.wanted().first);
    if (range.first == kEnd) break;
    ready.clear(), hidden.clear(), encoder.clear();
    for (size_t i = 0; i < walks.size(); ++i) {
      if (walks[i].done()) continue;
      const Range wanted = walks[i].wanted();
      const bool now = wanted.first == range.first;
      range.last = std::min(range.last, now ? wanted.last : wanted.first);  // where another one leaves or joins
      if (!now) continue;
      ready.push_back(i);
      hidden.push_back(walks[i].streams().hidden);
      encoder.push_back(walks[i].streams().encoder);
    }
    const Streams x{gathered(hidden), gathered(encoder)};
    const Modulated modulated(*this, ready);
    const Streams y = graphs_ ? graphs_->run(x, range, modulated, blocks) : blocks(x, range, modulated);
    int64_t first = 0;
    for (size_t i = 0; i < ready.size(); ++i) {
      const int64_t n = members_[ready[i]].pictures;
      // A stream that the blocks handed on as they got it stays what it was to the cache.
      walks[ready[i]].advance({same(x.hidden, y.hidden) ? hidden[i] : part(y.hidden, first, n),
                               same(x.encoder, y.encoder) ? encoder[i] : part(y.encoder, first, n)},
                              range.last);
      first += n;
    }
  }
  hidden.clear(), encoder.clear();
  for (Walk& w : walks) {
    Streams own = w.result();
    hidden.push_back(std::move(own.hidden));
    encoder.push_back(std::move(own.encoder));
  }
  return {gathered(hidden), gathered(encoder)};
}

}  // namespace cairn::diffusion
