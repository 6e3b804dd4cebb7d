#include "llm/sampling.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "llm/logit_row.h"

namespace cairn::llm {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

tl::unexpected<Error> none_may_follow() {
  return failure(Code::kInvalidArgument, "no token may follow: the constraints leave none");
}
tl::unexpected<Error> not_numbers() { return failure(Code::kInternal, "the model's logits are not numbers"); }

uint64_t mix(uint64_t x) {  // splitmix64 (Steele, Lea, Flood 2014)
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The likeliest tokens and the asked ones, with what they are above (below) the highest logit.
void report(std::span<const float> logits, const LogitRow& row, float scale, int64_t top,
            std::span<const int32_t> asked, Choice& out) {
  if (top > 0)
    for (const Candidate& c : row.likeliest(static_cast<size_t>(top)))
      out.top.emplace_back(c.token, (c.logit - row.highest()) * scale);
  for (const int32_t id : asked) out.asked.emplace_back(id, (logits[static_cast<size_t>(id)] - row.highest()) * scale);
}

void lower(Choice& c, float by) {
  for (auto& [id, value] : c.top) value -= by;
  for (auto& [id, value] : c.asked) value -= by;
}

}  // namespace

Result<Choice> judged(std::span<const float> logits, int32_t token, int64_t top, std::span<const int32_t> asked) {
  Choice out{.token = token};
  LogitRow row(logits);
  if (!row.finite()) return not_numbers();
  const double total = row.weigh(1);
  const auto log_total = static_cast<float>(std::log(total));
  out.logprob = logits[static_cast<size_t>(token)] - row.highest() - log_total;
  report(logits, row, 1, top, asked, out);
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
  for (const auto& [token, bias] : params.logit_bias) touch(token).bias += static_cast<float>(bias);
  if (params.min_new_tokens > 0)
    for (const int32_t token : ends_) touch(token).flags |= ops::Touch::kBanned;
  if (params.repetition_penalty != 1)
    for (const int32_t token : prompt) touch(token).flags |= ops::Touch::kRepeated;
}

ops::Touch& Sampler::touch(int64_t token) {
  const auto id = static_cast<int32_t>(token);
  const auto [it, first] = touched_.try_emplace(id, touches_.size());
  if (first) touches_.push_back({.token = id});
  return touches_[it->second];
}

bool Sampler::ends(int32_t token) const { return std::ranges::find(ends_, token) != ends_.end(); }

void Sampler::shift(std::span<float> logits, std::span<const uint32_t> allowed) const {
  const auto penalty = static_cast<float>(params_.repetition_penalty);
  for (const ops::Touch& t : touches_) {
    if (t.token < 0 || t.token >= static_cast<int64_t>(logits.size())) continue;
    float& x = logits[static_cast<size_t>(t.token)];
    x += t.bias;
    if (t.count > 0) x -= static_cast<float>(params_.frequency_penalty * t.count + params_.presence_penalty);
    if (t.flags & ops::Touch::kBanned) x = kNever;
    if (t.flags & ops::Touch::kRepeated) x = x > 0 ? x / penalty : x * penalty;
  }
  if (!allowed.empty())
    for (size_t i = 0; i < logits.size(); i += 32) {
      const uint32_t here = i / 32 < allowed.size() ? allowed[i / 32] : 0;
      const auto some = logits.subspan(i, std::min<size_t>(32, logits.size() - i));
      if (here == 0) {
        std::ranges::fill(some, kNever);
      } else if (~here != 0) {
        for (size_t j = 0; j < some.size(); ++j)
          if (!(here >> j & 1)) some[j] = kNever;
      }
    }
}

double Sampler::uniform() const {
  return static_cast<double>(mix(mix(seed_) ^ static_cast<uint64_t>(generated_)) >> 11) * 0x1p-53;
}

ops::SampleRow Sampler::row() const {
  return {.uniform = uniform(),
          .temperature = params_.temperature,
          .top_p = params_.top_p,
          .min_p = params_.min_p,
          .frequency = params_.frequency_penalty,
          .presence = params_.presence_penalty,
          .repetition = params_.repetition_penalty,
          .top_k = params_.top_k,
          .touches = static_cast<int32_t>(touches_.size()),
          .greedy = params_.greedy()};
}

Result<Choice> Sampler::took(const ops::Sampled& chosen) {
  if (chosen.state == ops::Sampled::kNoneMayFollow) return none_may_follow();
  if (chosen.state != ops::Sampled::kChosen) return not_numbers();
  remember(chosen.token);
  return Choice{.token = chosen.token, .logprob = chosen.logprob};
}

void Sampler::remember(int32_t token) {
  if (params_.frequency_penalty != 0 || params_.presence_penalty != 0) ++touch(token).count;
  if (params_.repetition_penalty != 1) touch(token).flags |= ops::Touch::kRepeated;
  if (++generated_ != params_.min_new_tokens) return;
  for (const int32_t end : ends_) touch(end).flags &= ~ops::Touch::kBanned;
}

// By weights that sum to `total`, after top-k, top-p and min-p.
int32_t Sampler::draw(const LogitRow& row, double total) const {
  const double u = uniform();
  if (params_.top_k < 0 && params_.top_p >= 1 && params_.min_p <= 0) return row.reaching(u * total);
  // A logit that no token of that weight is below, whatever was rounded.
  const auto logit_of = [&](double weight) {
    const double logit = double{row.highest()} + std::log(weight) * params_.temperature * (1 + 1e-5);
    return std::nextafter(static_cast<float>(logit), kNever);
  };
  const size_t most = params_.top_k < 0 ? std::numeric_limits<size_t>::max() : static_cast<size_t>(params_.top_k);
  const float lowest = std::max(row.reached_by(most), logit_of(params_.min_p));
  const double enough = params_.top_p < 1 ? params_.top_p * total : std::numeric_limits<double>::infinity();
  // Tokens far below the highest are looked at only when the mass asks for them.
  std::vector<Candidate> kept;
  for (double floor = params_.top_p < 1 ? 1e-2 : 0;; floor = floor > 1e-12 ? floor * 1e-2 : 0) {
    const float low = std::max(lowest, logit_of(floor));
    kept = row.above(low);
    double mass = 0;
    for (const Candidate& c : kept) mass += double{c.weight};
    if (low == lowest || mass > enough) break;
  }
  std::erase_if(kept, [&](const Candidate& c) { return c.weight <= 0 || double{c.weight} < params_.min_p; });
  if (kept.size() > most) {
    std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(most), kept.end(), likelier);
    kept.resize(most);
  }
  const Front front = take_likeliest(kept, enough);
  const Front drawn = take_likeliest(std::span(kept).first(front.count), u * front.mass);
  return kept[drawn.count - 1].token;
}

Result<Choice> Sampler::next(std::span<float> logits, std::span<const uint32_t> allowed, bool logprobs, int64_t top,
                             std::span<const int32_t> asked) {
  shift(logits, allowed);
  Choice out;
  const bool greedy = params_.greedy();
  LogitRow row(logits);
  const float highest = row.highest();
  if (row.numbers() && highest == kNever) return none_may_follow();
  if (!row.finite()) return not_numbers();
  out.token = row.first_highest();
  if (!greedy || logprobs) {
    const double scale = greedy ? 1 : 1 / params_.temperature;
    const double total = row.weigh(scale);
    if (!greedy) out.token = draw(row, total);
    if (logprobs) {
      report(logits, row, static_cast<float>(scale), top, asked, out);
      const auto log_total = static_cast<float>(std::log(total));
      out.logprob = (logits[static_cast<size_t>(out.token)] - highest) * static_cast<float>(scale) - log_total;
      lower(out, log_total);
    }
  }
  remember(out.token);
  return out;
}

}  // namespace cairn::llm
