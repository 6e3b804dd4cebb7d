// Prompt lookup: guesses what comes next from what came before, without a second model.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/fields.h"

namespace cairn::llm {

// SGLang's names. Answers are the same with and without it; only how many tokens a step gives changes.
struct SpeculativeConfig {
  std::string algorithm = "none";
  int64_t num_draft_tokens = 8, min_match = 2, max_match = 12;

  bool on() const { return algorithm == "NGRAM"; }
  // Guessed tokens of a step: one of its tokens is the known one that they follow.
  int64_t drafts() const { return on() ? num_draft_tokens - 1 : 0; }
  void fields(auto& f) {
    f("speculative_algorithm", algorithm, "NGRAM guesses tokens from repetitions in a request's own text",
      one_of({"none", "NGRAM"}))("speculative_num_draft_tokens", num_draft_tokens,
                                 "tokens of a sequence that a step looks at: the last one and those guessed to follow",
                                 between(2, 64))("speculative_ngram_min_match_window_size", min_match,
                                                 "fewest last tokens that must have occurred before for a guess",
                                                 between(1, 64))(
        "speculative_ngram_max_match_window_size", max_match, "most last tokens that are looked for", between(1, 64));
  }
};

// What followed the latest of the longest earlier occurrences of the last min_match to max_match tokens: at most `most`
// tokens, none when there is no such occurrence. Linear in the text, but for its repetitions.
std::span<const int32_t> proposed(std::span<const int32_t> tokens, const SpeculativeConfig& config, int64_t most);

}  // namespace cairn::llm
