#include "llm/sampling.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace cairn::llm {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

uint64_t mix(uint64_t x) {  // splitmix64 (Steele, Lea, Flood 2014)
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The first of equals.
int32_t argmax(std::span<const float> x) {
  constexpr size_t kLanes = 16;
  float best[kLanes];
  std::fill_n(best, kLanes, kNever);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes)
    for (size_t j = 0; j < kLanes; ++j) best[j] = x[i + j] > best[j] ? x[i + j] : best[j];
  float top = *std::max_element(best, best + kLanes);
  for (; i < x.size(); ++i) top = std::max(top, x[i]);
  return static_cast<int32_t>(std::find(x.begin(), x.end(), top) - x.begin());
}

// The likeliest tokens and the asked ones, with what they are above (below) the highest logit.
void report(std::span<const float> logits, float highest, float scale, int64_t top, std::span<const int32_t> asked,
            Choice& out) {
  const auto of = [&](int32_t id) { return (logits[static_cast<size_t>(id)] - highest) * scale; };
  if (top > 0) {
    std::vector<int32_t> ids(logits.size());
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    const auto count = std::min(static_cast<std::ptrdiff_t>(top), static_cast<std::ptrdiff_t>(ids.size()));
    std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), [&](int32_t a, int32_t b) {
      const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    });
    for (auto id = ids.begin(); id != ids.begin() + count; ++id) out.top.emplace_back(*id, of(*id));
  }
  for (const int32_t id : asked) out.asked.emplace_back(id, of(id));
}

void lower(Choice& c, float by) {
  for (auto& [id, value] : c.top) value -= by;
  for (auto& [id, value] : c.asked) value -= by;
}

}  // namespace

Result<Choice> judged(std::span<const float> logits, int32_t token, int64_t top, std::span<const int32_t> asked) {
  Choice out{.token = token};
  const float highest = *std::ranges::max_element(logits);
  double total = 0;
  for (const float x : logits) total += double{std::exp(x - highest)};
  if (!std::isfinite(total)) return failure(Code::kInternal, "the model's logits are not numbers");
  const auto log_total = static_cast<float>(std::log(total));
  out.logprob = logits[static_cast<size_t>(token)] - highest - log_total;
  report(logits, highest, 1, top, asked, out);
  lower(out, log_total);
  return out;
}

Result<void> SamplingParams::check(int64_t vocabulary) const {
  if (top_k == 0) return invalid("top_k is -1 for all tokens, or at least 1");
  if (top_p <= 0) return invalid("top_p must be above 0");
  if (repetition_penalty <= 0) return invalid("repetition_penalty must be above 0");
  if (min_new_tokens > max_new_tokens)
    return invalid(fmt::format("min_new_tokens {} is above max_new_tokens {}", min_new_tokens, max_new_tokens));
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || token >= vocabulary)
      return invalid(fmt::format("logit_bias: token {} is outside the vocabulary of {}", token, vocabulary));
    if (!std::isfinite(bias) || std::abs(bias) > 1e6)
      return invalid(fmt::format("logit_bias of token {} is {}: give a finite number", token, bias));
  }
  for (const int64_t token : stop_token_ids)
    if (token < 0 || token >= vocabulary)
      return invalid(fmt::format("stop_token_ids: token {} is outside the vocabulary of {}", token, vocabulary));
  return {};
}

Sampler::Sampler(const SamplingParams& params, std::span<const int32_t> prompt, std::span<const int32_t> ends,
                 uint64_t fallback_seed)
    : params_(params), seed_(params.seed ? static_cast<uint64_t>(*params.seed) : fallback_seed) {
  if (!params.ignore_eos) ends_.assign(ends.begin(), ends.end());
  for (const int64_t id : params.stop_token_ids) ends_.push_back(static_cast<int32_t>(id));
  std::ranges::sort(ends_);
  ends_.erase(std::ranges::unique(ends_).begin(), ends_.end());
  if (params.repetition_penalty != 1) {
    seen_.assign(prompt.begin(), prompt.end());
    std::ranges::sort(seen_);
    seen_.erase(std::ranges::unique(seen_).begin(), seen_.end());
  }
}

bool Sampler::ends(int32_t token) const { return std::ranges::find(ends_, token) != ends_.end(); }

void Sampler::shift(std::span<float> logits, std::span<const uint32_t> allowed) const {
  const auto at = [&](int64_t token) -> float* {
    return token >= 0 && token < static_cast<int64_t>(logits.size()) ? &logits[static_cast<size_t>(token)] : nullptr;
  };
  for (const auto& [token, bias] : params_.logit_bias)
    if (float* x = at(token)) *x += static_cast<float>(bias);
  if (params_.frequency_penalty != 0 || params_.presence_penalty != 0)
    for (const auto& [token, count] : counts_)
      if (float* x = at(token)) *x -= static_cast<float>(params_.frequency_penalty * count + params_.presence_penalty);
  if (generated_ < params_.min_new_tokens)
    for (const int32_t token : ends_)
      if (float* x = at(token)) *x = kNever;
  if (params_.repetition_penalty != 1) {
    const auto weaken = [&](int32_t token) {
      const auto penalty = static_cast<float>(params_.repetition_penalty);
      if (float* x = at(token)) *x = *x > 0 ? *x / penalty : *x * penalty;
    };
    for (const int32_t token : seen_) weaken(token);
    for (const auto& [token, count] : counts_)
      if (!std::ranges::binary_search(seen_, token)) weaken(token);
  }
  if (!allowed.empty())
    for (size_t i = 0; i < logits.size(); ++i)
      if (i / 32 >= allowed.size() || !(allowed[i / 32] >> (i % 32) & 1)) logits[i] = kNever;
}

// From weights (not divided by their sum `total`), after top-k, top-p and min-p.
int32_t Sampler::draw(std::span<float> weights, double total) const {
  const double u = static_cast<double>(mix(mix(seed_) ^ static_cast<uint64_t>(generated_)) >> 11) * 0x1p-53;
  const auto pick = [&](auto&& weight_of, size_t count, double sum) {
    double left = u * sum;
    size_t last = 0;
    for (size_t i = 0; i < count; ++i) {
      const double w = weight_of(i);
      if (w <= 0) continue;
      last = i;
      if ((left -= w) < 0) break;
    }
    return last;
  };
  const bool all = params_.top_k < 0 && params_.top_p >= 1 && params_.min_p <= 0;
  if (all) return static_cast<int32_t>(pick([&](size_t i) { return double{weights[i]}; }, weights.size(), total));
  // The largest weight is 1: that of the largest logit. Tokens far below it are looked at only when the mass asks.
  std::vector<int32_t> order;
  const size_t most = params_.top_k < 0 ? weights.size() : std::min(weights.size(), static_cast<size_t>(params_.top_k));
  for (float floor = 1e-3f;; floor = floor > 1e-12f ? floor * 1e-3f : 0) {
    order.clear();
    double mass = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      if (weights[i] > floor) order.push_back(static_cast<int32_t>(i)), mass += double{weights[i]};
    if (floor == 0 || order.size() >= most || mass >= params_.top_p * total || params_.min_p >= floor) break;
  }
  const auto before = [&](int32_t a, int32_t b) {
    const float x = weights[static_cast<size_t>(a)], y = weights[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const size_t kept = std::min(order.size(), most);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), before);
  // A token stays while the tokens before it have not reached top_p.
  size_t count = 0;
  double sum = 0;
  for (; count < kept; ++count) {
    const double w = double{weights[static_cast<size_t>(order[count])]};
    if (count > 0 && (sum > params_.top_p * total || w < params_.min_p)) break;
    sum += w;
  }
  return order[pick([&](size_t i) { return double{weights[static_cast<size_t>(order[i])]}; }, count, sum)];
}

Result<Choice> Sampler::next(std::span<float> logits, std::span<const uint32_t> allowed, bool logprobs, int64_t top,
                             std::span<const int32_t> asked) {
  shift(logits, allowed);
  Choice out;
  const bool greedy = params_.greedy();
  out.token = argmax(logits);
  const float highest = static_cast<size_t>(out.token) < logits.size() ? logits[static_cast<size_t>(out.token)] : NAN;
  if (highest == kNever) return failure(Code::kInvalidArgument, "no token may follow: the constraints leave none");
  if (!std::isfinite(highest)) return failure(Code::kInternal, "the model's logits are not numbers");
  if (!greedy || logprobs) {
    const float scale = greedy ? 1 : static_cast<float>(1 / params_.temperature);
    if (logprobs) report(logits, highest, scale, top, asked, out);
    double total = 0;
    for (float& x : logits) {
      x = std::exp((x - highest) * scale);
      total += double{x};
    }
    if (!std::isfinite(total)) return failure(Code::kInternal, "the model's logits are not numbers");
    if (!greedy) out.token = draw(logits, total);
    if (logprobs) {
      const auto shift_by = static_cast<float>(std::log(total));
      out.logprob = std::log(logits[static_cast<size_t>(out.token)]) - shift_by;
      lower(out, shift_by);
    }
  }
  ++counts_[out.token];
  ++generated_;
  return out;
}

}  // namespace cairn::llm
