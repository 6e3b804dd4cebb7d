// Step cache kernels for fp32 streams, a pass over memory each. Other types, and layouts whose channels are not
// contiguous, go to the reference.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/cache.h"
#include "ops/cpu/team.h"

// The compiler emits one copy of a row function per instruction set and the loader picks.
#define CAIRN_CLONES __attribute__((target_clones("avx512f", "avx2,fma", "default")))

namespace cairn::ops::cpu {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kGrain = 32768;       // elements that are summed up at once
constexpr int64_t kWorkPerElement = 4;  // multiply-adds that take as long as reading one
constexpr size_t kMostTerms = 32;
typedef float Lanes __attribute__((vector_size(4 * kLanes)));

// (rows, width) with rows that lie at two strides, as slices of a joint sequence do.
struct View {
  float* data = nullptr;
  int64_t rows = 0, width = 0, inner = 1, outer_stride = 0, inner_stride = 0;

  float* row(int64_t i) const { return data ? data + i / inner * outer_stride + i % inner * inner_stride : nullptr; }
};

bool view(const Tensor& t, View& out) {
  if (!t.defined()) return true;
  if (t.scalar_type() != kF32 || t.dim() < 1 || t.numel() == 0) return false;
  const int64_t d = t.dim(), width = t.size(-1);
  out.data = t.data_ptr<float>();
  out.width = width;
  out.rows = t.numel() / width;
  if (t.is_contiguous()) {
    out.inner = out.rows;
    out.inner_stride = width;
    return true;
  }
  if (d > 3 || t.stride(-1) != 1) return false;
  out.inner = d > 1 ? t.size(-2) : 1;
  out.inner_stride = d > 1 ? t.stride(-2) : 0;
  out.outer_stride = d > 2 ? t.stride(0) : 0;
  return true;
}

template <class F>
void for_rows(int64_t rows, int64_t width, const F& f) {
  share(kWorkPerElement * rows * width, [&](Worker w) {
    for (int64_t i = rows * w.id / w.count, end = rows * (w.id + 1) / w.count; i < end; ++i) f(i);
  });
}

}  // namespace

// sums[0] += |p - (a - b)|, sums[1] += |p| over n channels of the anchor; a and b are read every stride-th.
CAIRN_CLONES void change_row(const float* a, const float* b, const float* p, int64_t n, int64_t stride, double* sums) {
  Lanes far{}, size{};
  float rest_far = 0, rest_size = 0;
  int64_t i = 0;
  if (stride == 1)
    for (; i + kLanes <= n; i += kLanes) {
      Lanes x, y{}, q;
      std::memcpy(&x, a + i, sizeof x);
      if (b) std::memcpy(&y, b + i, sizeof y);
      std::memcpy(&q, p + i, sizeof q);
      const Lanes d = q - (x - y);
      far += d < 0 ? -d : d;
      size += q < 0 ? -q : q;
    }
  for (; i < n; ++i) {
    rest_far += std::abs(p[i] - (a[i * stride] - (b ? b[i * stride] : 0.0f)));
    rest_size += std::abs(p[i]);
  }
  for (int64_t k = 0; k < kLanes; ++k) {
    rest_far += far[k];
    rest_size += size[k];
  }
  sums[0] = static_cast<double>(rest_far);
  sums[1] = static_cast<double>(rest_size);
}

CAIRN_CLONES void residual_row(const float* a, const float* b, int64_t n, int64_t stride, float* out) {
  if (stride > 1 || !b)
    for (int64_t i = 0; i < n; ++i) out[i] = a[i * stride] - (b ? b[i * stride] : 0.0f);
  else
    for (int64_t i = 0; i < n; ++i) out[i] = a[i] - b[i];
}

CAIRN_CLONES void taylor_row(const float* a, const float* b, float* const* ladder, size_t levels, int64_t n,
                             float gap) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Lanes level, y{}, old;
    std::memcpy(&level, a + i, sizeof level);
    if (b) std::memcpy(&y, b + i, sizeof y);
    level -= y;
    for (size_t l = 0; l < levels; ++l) {
      if (l + 1 < levels) std::memcpy(&old, ladder[l] + i, sizeof old);
      std::memcpy(ladder[l] + i, &level, sizeof level);
      if (l + 1 < levels) level = (level - old) / gap;
    }
  }
  for (; i < n; ++i) {
    float level = a[i] - (b ? b[i] : 0.0f);
    for (size_t l = 0; l < levels; ++l) {
      const float next = l + 1 < levels ? (level - ladder[l][i]) / gap : 0.0f;
      ladder[l][i] = level;
      level = next;
    }
  }
}

CAIRN_CLONES void sum_row(const float* base, const float* const* terms, const float* weights, size_t count, int64_t n,
                          float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Lanes total{}, t;
    if (base) std::memcpy(&total, base + i, sizeof total);
    for (size_t j = 0; j < count; ++j) {
      std::memcpy(&t, terms[j] + i, sizeof t);
      total += weights[j] * t;
    }
    std::memcpy(out + i, &total, sizeof total);
  }
  for (; i < n; ++i) {
    float total = base ? base[i] : 0.0f;
    for (size_t j = 0; j < count; ++j) total += weights[j] * terms[j][i];
    out[i] = total;
  }
}

// out[pair] += the inner products of all pairs j <= k over n elements.
CAIRN_CLONES void gram_span(const float* const* terms, size_t count, int64_t n, double* out) {
  constexpr int kWide = 8;
  typedef double Wide __attribute__((vector_size(8 * kWide)));
  typedef float Half __attribute__((vector_size(4 * kWide)));
  size_t pair = 0;
  for (size_t j = 0; j < count; ++j)
    for (size_t k = j; k < count; ++k, ++pair) {
      Wide total{};
      int64_t i = 0;
      for (; i + kWide <= n; i += kWide) {
        Half x, y;
        std::memcpy(&x, terms[j] + i, sizeof x);
        std::memcpy(&y, terms[k] + i, sizeof y);
        total += __builtin_convertvector(x, Wide) * __builtin_convertvector(y, Wide);
      }
      double rest = 0;
      for (; i < n; ++i) rest += static_cast<double>(terms[j][i]) * static_cast<double>(terms[k][i]);
      for (int l = 0; l < kWide; ++l) rest += total[l];
      out[pair] += rest;
    }
}

namespace {

Change change(const Tensor& after, const Tensor& before, const Tensor& anchor, int64_t stride, double important) {
  View a, b, p;
  if (!view(after, a) || !view(before, b) || !view(anchor, p))
    return reference::change(after, before, anchor, stride, important);
  // A row's sums each, added up in order: the same number whatever the threads do.
  std::vector<double> sums(static_cast<size_t>(2 * p.rows));
  for_rows(p.rows, p.width,
           [&](int64_t i) { change_row(a.row(i), b.row(i), p.row(i), p.width, stride, sums.data() + 2 * i); });
  Change all, chosen;
  bool any = false;
  for (size_t i = 0; i < sums.size(); i += 2) {
    all.difference += sums[i];
    all.magnitude += sums[i + 1];
    if (important > 0 && sums[i] / sums[i + 1] > important) {
      any = true;
      chosen.difference += sums[i];
      chosen.magnitude += sums[i + 1];
    }
  }
  return any ? chosen : all;
}

void residual(const Tensor& after, const Tensor& before, int64_t stride, Tensor& out) {
  View a, b, o;
  if (!view(after, a) || !view(before, b)) return reference::residual(after, before, stride, out);
  auto sizes = after.sizes().vec();
  sizes.back() = (sizes.back() + stride - 1) / stride;
  if (!out.defined() || out.sizes() != at::IntArrayRef(sizes) || out.scalar_type() != kF32 || !out.is_contiguous())
    out = empty(sizes, kF32);
  view(out, o);
  for_rows(o.rows, o.width, [&](int64_t i) { residual_row(a.row(i), b.row(i), o.width, stride, o.row(i)); });
}

void taylor_update(const Tensor& after, const Tensor& before, at::TensorList ladder, double gap) {
  View a, b;
  std::vector<View> levels(ladder.size());
  bool plain = view(after, a) && view(before, b) && ladder.size() <= kMostTerms;
  for (size_t l = 0; l < levels.size(); ++l) plain = plain && view(ladder[l], levels[l]);
  if (!plain) return reference::taylor_update(after, before, ladder, gap);
  for_rows(a.rows, a.width, [&](int64_t i) {
    float* rows[kMostTerms];
    for (size_t l = 0; l < levels.size(); ++l) rows[l] = levels[l].row(i);
    taylor_row(a.row(i), b.row(i), rows, levels.size(), a.width, static_cast<float>(gap));
  });
}

Tensor weighted_sum(at::TensorList terms, const Tensor& base, const std::vector<double>& weights) {
  View b, o;
  std::vector<View> from(terms.size());
  bool plain = view(base, b) && terms.size() <= kMostTerms;
  for (size_t j = 0; j < from.size(); ++j) plain = plain && view(terms[j], from[j]);
  if (!plain) return reference::weighted_sum(terms, base, weights);
  Tensor out = empty(terms[0].sizes(), kF32);
  view(out, o);
  const std::vector<float> w(weights.begin(), weights.end());
  const int64_t per_weights = o.rows / static_cast<int64_t>(w.size() / terms.size());
  for_rows(o.rows, o.width, [&](int64_t i) {
    const float* rows[kMostTerms];
    for (size_t j = 0; j < from.size(); ++j) rows[j] = from[j].row(i);
    sum_row(b.row(i), rows, w.data() + i / per_weights * static_cast<int64_t>(from.size()), from.size(), o.width,
            o.row(i));
  });
  return out;
}

std::vector<double> gram(at::TensorList terms) {
  const size_t count = terms.size(), pairs = count * (count + 1) / 2;
  bool plain = count <= kMostTerms && terms[0].numel() > 0;
  for (const Tensor& t : terms) plain = plain && t.scalar_type() == kF32 && t.is_contiguous();
  if (!plain) return reference::gram(terms);
  const int64_t batch = terms[0].size(0), each = terms[0].numel() / batch, spans = (each + kGrain - 1) / kGrain;
  std::vector<double> parts(static_cast<size_t>(batch * spans) * pairs);
  share(kWorkPerElement * terms[0].numel() * static_cast<int64_t>(pairs), [&](Worker w) {
    const int64_t all = batch * spans;
    for (int64_t s = all * w.id / w.count; s < all * (w.id + 1) / w.count; ++s) {
      const int64_t at = s % spans * kGrain;
      const float* from[kMostTerms];
      for (size_t j = 0; j < count; ++j) from[j] = terms[j].data_ptr<float>() + s / spans * each + at;
      gram_span(from, count, std::min(kGrain, each - at), parts.data() + static_cast<size_t>(s) * pairs);
    }
  });
  std::vector<double> out(static_cast<size_t>(batch) * count * count);
  for (size_t n = 0, s = 0; n < static_cast<size_t>(batch); ++n)
    for (int64_t span = 0; span < spans; ++span, ++s)
      for (size_t j = 0, pair = s * pairs; j < count; ++j)
        for (size_t k = j; k < count; ++k, ++pair) {
          out[(n * count + j) * count + k] += parts[pair];
          if (k != j) out[(n * count + k) * count + j] += parts[pair];
        }
  return out;
}

}  // namespace
}  // namespace cairn::ops::cpu

namespace cairn::ops {

void install_cpu_cache() {
  change.on(kCPU, cpu::change);
  residual.on(kCPU, cpu::residual);
  taylor_update.on(kCPU, cpu::taylor_update);
  weighted_sum.on(kCPU, cpu::weighted_sum);
  ops::gram.on(kCPU, cpu::gram);
}

}  // namespace cairn::ops
