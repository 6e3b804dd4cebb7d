#include "llm/logit_row.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>

namespace cairn::llm {
namespace {

constexpr size_t kBlock = 64;
constexpr float kNever = -std::numeric_limits<float>::infinity();

// Four lanes are what every processor has, and the compiler's own vectors make the order of sums the same on all.
using f32v = float __attribute__((vector_size(16)));
using i32v = int32_t __attribute__((vector_size(16)));
using u32v = uint32_t __attribute__((vector_size(16)));
constexpr size_t kLanes = 4;

f32v load(const float* p) {
  f32v v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// 2^(rate * x) for x <= 0, one number or a vector of them: a polynomial for the fraction, within 1e-7, and the rest put
// into the exponent's bits. `floor` is -127 / rate: there they are those of zero.
template <class F, class U>
[[gnu::always_inline]] inline F weight_of(F x, float rate, F floor) {
  const F t = (x > floor ? x : floor) * rate;
  constexpr float kShift = 0x1.8p23f + 127;
  const F shifted = t + kShift;  // its last bits are t, rounded, as an exponent
  const F f = t - (shifted - kShift);
  F p = f * 0.0013264727f + 0.0096715127f;
  p = p * f + 0.055507337f;
  p = p * f + 0.24022242f;
  p = p * f + 0.69314698f;
  p = p * f + 1;
  return p * std::bit_cast<F>(std::bit_cast<U>(shifted) << 23);
}

// out[i] = of(the logits of block i); the last block is padded.
template <class T, class Of>
void each_block(std::span<const float> logits, std::vector<T>& out, Of of) {
  out.resize((logits.size() + kBlock - 1) / kBlock);
  const size_t whole = logits.size() / kBlock;
  for (size_t i = 0; i < whole; ++i) out[i] = of(logits.data() + i * kBlock, i);
  if (whole == out.size()) return;
  std::array<float, kBlock> last;
  last.fill(kNever);
  std::ranges::copy(logits.subspan(whole * kBlock), last.begin());
  out[whole] = of(last.data(), whole);
}

// Its highest logit. `odd` becomes other than zero where one is no number.
float max_of_block(const float* p, i32v& odd) {
  f32v a = f32v{} + kNever, b = a;
  for (size_t i = 0; i < kBlock; i += 2 * kLanes, p += 2 * kLanes) {
    const f32v x = load(p), y = load(p + kLanes);
    a = x > a ? x : a;
    b = y > b ? y : b;
    odd |= (x != x) | (y != y);
  }
  a = a > b ? a : b;
  return std::max(std::max(a[0], a[1]), std::max(a[2], a[3]));
}

[[gnu::always_inline]] inline double sum_of_block(const float* p, float highest, float rate) {
  const f32v floor = f32v{} - 127 / rate;
  f32v a{}, b{};
  for (size_t i = 0; i < kBlock; i += 2 * kLanes, p += 2 * kLanes) {
    a += weight_of<f32v, u32v>(load(p) - highest, rate, floor);
    b += weight_of<f32v, u32v>(load(p + kLanes) - highest, rate, floor);
  }
  a += b;
  return double{a[0]} + double{a[1]} + double{a[2]} + double{a[3]};
}

}  // namespace

LogitRow::LogitRow(std::span<const float> logits) : logits_(logits) {
  i32v odd{};
  each_block(logits, maxima_, [&](const float* p, size_t) { return max_of_block(p, odd); });
  numbers_ = (odd[0] | odd[1] | odd[2] | odd[3]) == 0;
  highest_ = maxima_.empty() ? kNever : *std::ranges::max_element(maxima_);
}

std::span<const float> LogitRow::block(size_t i) const {
  return logits_.subspan(i * kBlock, std::min(kBlock, logits_.size() - i * kBlock));
}

float LogitRow::weight(float logit) const { return weight_of<float, uint32_t>(logit - highest_, rate_, -127 / rate_); }

bool LogitRow::finite() const { return numbers_ && std::isfinite(highest_); }

int32_t LogitRow::first_highest() const {
  const auto i = static_cast<size_t>(std::ranges::find(maxima_, highest_) - maxima_.begin());
  const auto own = block(i);
  return static_cast<int32_t>(i * kBlock + static_cast<size_t>(std::ranges::find(own, highest_) - own.begin()));
}

double LogitRow::weigh(double scale) {
  rate_ = static_cast<float>(scale * 1.4426950408889634);  // of log2(e)
  // Where a grammar holds most blocks have nothing that may follow.
  each_block(logits_, sums_, [&, highest = highest_, rate = rate_](const float* p, size_t i) {
    return maxima_[i] == kNever ? 0 : sum_of_block(p, highest, rate);
  });
  return std::accumulate(sums_.begin(), sums_.end(), 0.0);
}

int32_t LogitRow::reaching(double mass) const {
  size_t last_block = sums_.size() - 1, found = 0;
  while (last_block > 0 && sums_[last_block] <= 0) --last_block;
  for (; found < last_block && mass >= sums_[found]; ++found) mass -= sums_[found];
  const auto own = block(found);
  size_t last = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    const double w = double{weight(own[i])};
    if (w <= 0) continue;
    last = i;
    if ((mass -= w) < 0) break;
  }
  return static_cast<int32_t>(found * kBlock + last);
}

float LogitRow::reached_by(size_t count) const {
  if (count == 0 || count > maxima_.size()) return kNever;
  // As many blocks have a token that high.
  std::vector<float> maxima = maxima_;
  const auto at = maxima.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(maxima.begin(), at, maxima.end(), std::greater<>());
  return *at;
}

std::vector<Candidate> LogitRow::above(float low) const {
  std::vector<Candidate> out;
  for (size_t i = 0; i < maxima_.size(); ++i) {
    if (maxima_[i] < low) continue;
    const auto own = block(i);
    for (size_t j = 0; j < own.size(); ++j)
      if (own[j] >= low) out.push_back({own[j], weight(own[j]), static_cast<int32_t>(i * kBlock + j)});
  }
  return out;
}

std::vector<Candidate> LogitRow::likeliest(size_t count) const {
  auto out = above(reached_by(count));
  count = std::min(count, out.size());
  std::partial_sort(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count), out.end(), likelier);
  out.resize(count);
  return out;
}

Front take_likeliest(std::span<Candidate> candidates, double mass) {
  constexpr size_t kFew = 64;
  const auto at = [&](size_t i) { return candidates.begin() + static_cast<std::ptrdiff_t>(i); };
  // The candidates before `from` belong to the front, and those from `to` on do not.
  size_t from = 0, to = candidates.size();
  double sum = 0;
  while (to - from > kFew) {
    const size_t middle = from + (to - from) / 2;
    std::nth_element(at(from), at(middle), at(to), likelier);
    double half = sum;
    for (size_t i = from; i < middle; ++i) half += double{candidates[i].weight};
    if (half > mass) {
      to = middle;
    } else {
      from = middle, sum = half;
    }
  }
  std::sort(at(from), at(to), likelier);
  while (from < to && sum <= mass) sum += double{candidates[from++].weight};
  return {from, sum};
}

}  // namespace cairn::llm
