// How long steps take, learnt from those that were run: a step that answers under way wait for should not take so many
// prompt tokens that their next token comes much later than the one before.
#pragma once
#include <cstdint>

namespace cairn::llm {

class Pace {
 public:
  // A step may last so many times as long as it would without prompt tokens.
  static constexpr double kLongest = 2.5;

  // A step of so many tokens of answers and of prompts took so many seconds.
  void took(double seconds, int64_t answers, int64_t prompts);

  // How many prompt tokens to add to a step of `others`: at least `least`, and no more where nothing is known of what
  // they cost; at most `most`, and as many where no step has been told of.
  int64_t beside(int64_t others, int64_t least, int64_t most) const;

 private:
  // The time of a step is taken to be a line over its tokens: means, variance and covariance of the latest steps, each
  // of which weighs a little less than the next.
  double tokens_ = 0, seconds_ = 0, variance_ = 0, covariance_ = 0;
  int64_t steps_ = 0;
  bool told_ = false;
};

}  // namespace cairn::llm
