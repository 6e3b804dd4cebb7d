// How a next token is chosen from logits: the parameters of a request, and the state that they need.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/fields.h"
#include "ops/sample_row.h"

namespace cairn::llm {

class LogitRow;

// SGLang's names and defaults.
struct SamplingParams {
  int64_t max_new_tokens = 128, min_new_tokens = 0, top_k = -1;
  double temperature = 1, top_p = 1, min_p = 0;
  double frequency_penalty = 0, presence_penalty = 0, repetition_penalty = 1;
  bool ignore_eos = false;
  std::optional<int64_t> seed;
  std::vector<int64_t> stop_token_ids;
  std::vector<std::pair<int64_t, double>> logit_bias;  // token, what is added

  void fields(auto& f) {
    f("max_new_tokens", max_new_tokens, "tokens at most", between(0, 1e9));
    f("min_new_tokens", min_new_tokens, "no end before so many tokens", between(0, 1e9));
    f("temperature", temperature, "0 takes the likeliest token", between(0, 1e6));
    f("top_k", top_k, "only the k likeliest tokens; -1: all", between(-1, 1e9));
    f("top_p", top_p, "only the likeliest tokens that together reach this probability", between(0, 1));
    f("min_p", min_p, "only tokens of this share of the likeliest one's probability", between(0, 1));
    f("frequency_penalty", frequency_penalty, "off a token's logit, for each time it was generated", between(-2, 2));
    f("presence_penalty", presence_penalty, "off a token's logit, once it was generated", between(-2, 2));
    f("repetition_penalty", repetition_penalty, "divides logits of tokens seen before, as transformers does",
      between(0, 2));
    f("ignore_eos", ignore_eos, "go on after an end token");
    f("sampling_seed", seed, "the same seed gives the same tokens");
    f("stop_token_ids", stop_token_ids, "tokens that end the answer");
  }
  bool greedy() const { return temperature < 1e-6 || top_k == 1; }

  // What fields() cannot say of one value alone.
  Result<void> check(int64_t vocabulary) const;
};

// A token and the logarithms of probabilities, after temperature.
struct Choice {
  int32_t token = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top{};    // the likeliest tokens, in order
  std::vector<std::pair<int32_t, float>> asked{};  // those that were asked for by id, in that order
};

// What logits say of a token that was not chosen but given, at temperature 1: for the tokens of a prompt. An error when
// a logit is no number.
Result<Choice> judged(std::span<const float> logits, int32_t token, int64_t top, std::span<const int32_t> asked);

// Chooses a request's tokens one after the other. Not for two threads at once.
class Sampler {
 public:
  // `ends`: the model's end tokens. Without a seed in `params`, `fallback_seed` is used.
  Sampler(const SamplingParams& params, std::span<const int32_t> prompt, std::span<const int32_t> ends,
          uint64_t fallback_seed);

  // Penalties and `allowed` are written into `logits` (vocabulary). `allowed`, a bit a token, is empty where everything
  // is. Its choice depends on the logits, the seed and the tokens before, never on other requests. `top`: how many
  // likeliest tokens to report, and `asked` those to report besides; logarithms are worked out only when `logprobs`. An
  // error when no token may follow, or a logit is no number.
  Result<Choice> next(std::span<float> logits, std::span<const uint32_t> allowed, bool logprobs, int64_t top,
                      std::span<const int32_t> asked = {});

  // For the device that has the logits (ops::sample): how it is to choose what next() would. took() is told of it.
  ops::SampleRow row() const;
  std::span<const ops::Touch> touches() const { return touches_; }
  Result<Choice> took(const ops::Sampled& chosen);

  // Whether that token ends the answer.
  bool ends(int32_t token) const;
  std::span<const int32_t> ends() const { return ends_; }  // without repeats
  int64_t generated() const { return generated_; }

 private:
  ops::Touch& touch(int64_t token);
  void shift(std::span<float> logits, std::span<const uint32_t> allowed) const;
  double uniform() const;
  int32_t draw(const LogitRow& row, double total) const;
  void remember(int32_t token);

  SamplingParams params_;
  std::vector<int32_t> ends_;
  std::vector<ops::Touch> touches_;              // of tokens whose logits are not the model's
  std::unordered_map<int32_t, size_t> touched_;  // where they are
  uint64_t seed_;
  int64_t generated_ = 0;
};

}  // namespace cairn::llm
