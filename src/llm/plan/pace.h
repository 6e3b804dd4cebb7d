// How long steps take, learnt from those that were run: a step that answers under way wait for takes only so many
// prompt tokens that these cost about as much time as the answers do.
#pragma once
#include <cstdint>

namespace cairn::llm {

class Pace {
 public:
  // Prompts get on by so many tokens a step, whatever they cost.
  static constexpr int64_t kLeast = 4;

  // A step of so many tokens of answers and of prompts took so many seconds.
  void took(double seconds, int64_t answers, int64_t prompts);

  bool told() const { return told_; }  // of any step
  // How many prompt tokens to add to a step of `answers`: `most` at most, and kLeast while too little is known.
  int64_t beside(int64_t answers, int64_t most) const;

 private:
  double without(int64_t answers) const;

  double alone_ = 0, answers_ = 0;  // seconds of a step of answers only, and how many there were
  double each_ = -1;                // seconds that a prompt token adds; below 0: not known
  bool told_ = false;
};

}  // namespace cairn::llm
