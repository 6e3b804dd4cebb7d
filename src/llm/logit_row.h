// One row of logits as a sampler looks at it: in blocks whose highest logit and sum of weights are kept, so that what
// is wanted of few tokens costs no pass over all of them. The weight of a token is exp((logit - highest) * scale), and
// zero below 2^-126.
//
// Weights differ from exact ones by less than 3e-7 + 2e-7 * |(logit - highest) * scale| of themselves, their sums by
// less than 1e-6 more.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cairn::llm {

struct Candidate {
  float logit;
  float weight;  // 0 until weighed
  int32_t token;
};
// The order of likelihood: higher logits first, and the first of equals.
inline bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// A view: the logits must outlive it, and stay as they are.
class LogitRow {
 public:
  // One pass.
  explicit LogitRow(std::span<const float> logits);

  float highest() const { return highest_; }
  bool numbers() const { return numbers_; }  // no logit is a NaN
  bool finite() const;                       // so that it can be weighed: numbers, the highest finite
  int32_t first_highest() const;

  // Another pass: weights are those of `scale` from now on. Returns their sum.
  double weigh(double scale);
  // The first token, in order of ids, up to which the weights sum to more than `mass`; the last with any weight when
  // rounding kept them from it.
  int32_t reaching(double mass) const;

  // A logit that at least `count` tokens reach, and not many more; -infinity when that would be hard to tell.
  float reached_by(size_t count) const;
  // The tokens with a logit of `low` or more, weighed, in order of ids.
  std::vector<Candidate> above(float low) const;
  // The likeliest tokens, in order.
  std::vector<Candidate> likeliest(size_t count) const;

 private:
  std::span<const float> block(size_t i) const;
  float weight(float logit) const;

  std::span<const float> logits_;
  std::vector<float> maxima_;     // of each block
  std::vector<double> sums_;      // of the weights of each block
  float highest_ = 0, rate_ = 0;  // rate_: `scale`, of base 2
  bool numbers_ = true;
};

struct Front {
  size_t count = 0;
  double mass = 0;
};
// The fewest likeliest candidates whose weights sum to more than `mass` (all, when they do not); they are moved to the
// front, the least likely of them last.
Front take_likeliest(std::span<Candidate> candidates, double mass);

}  // namespace cairn::llm
