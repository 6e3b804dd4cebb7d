// The prompts that a load test sends.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"
#include "text/tokenizer.h"

namespace cairn::serve {

// One request to make: a text, or token ids for routes that take them.
struct LoadPrompt {
  std::string text;
  std::vector<int64_t> ids;  // not empty: sent instead of the text
  int64_t prompt_len = 0;    // tokens, as far as they can be known here; a server's own count is believed over it
  int64_t output_len = 0;    // tokens to ask for
};

// SGLang's names and meaning of flags.
struct DatasetOptions {
  std::string dataset_name = "random", dataset_path;
  int64_t num_prompts = 1000, random_input_len = 1024, random_output_len = 1024, seed = 1;
  double random_range_ratio = 0;
  int64_t gsp_num_groups = 64, gsp_prompts_per_group = 16, gsp_system_prompt_len = 2048, gsp_question_len = 128;
  int64_t gsp_output_len = 256;

  void fields(auto& f) {
    f("dataset_name", dataset_name, "random tokens, prompts in groups that share a beginning, or a file",
      one_of({"random", "generated-shared-prefix", "jsonl"}));
    f("dataset_path", dataset_path,
      "for jsonl: a line is {\"prompt\": text} or {\"input_ids\": [...]}, and \"output_len\" where it differs");
    f("num_prompts", num_prompts, "requests; of a file, the first so many", between(1, 1e7));
    f("random_input_len", random_input_len, "tokens of a prompt at most", between(1, 1e7));
    f("random_output_len", random_output_len, "tokens of an answer at most", between(1, 1e7));
    f("random_range_ratio", random_range_ratio, "lengths are drawn from this share of the most up to the most",
      between(0, 1));
    f("gsp_num_groups", gsp_num_groups, "groups", between(1, 1e6));
    f("gsp_prompts_per_group", gsp_prompts_per_group, "requests of a group", between(1, 1e6));
    f("gsp_system_prompt_len", gsp_system_prompt_len, "tokens that a group shares", between(1, 1e7));
    f("gsp_question_len", gsp_question_len, "tokens of each request's own", between(1, 1e7));
    f("gsp_output_len", gsp_output_len, "tokens of an answer", between(1, 1e7));
    f("seed", seed, "of lengths, tokens and arrivals");
  }
};

// The same options give the same prompts on every machine. `as_ids`: token ids, for SGLang's own route. Without a
// tokenizer ids are drawn from 256 up to 1023, which nearly every vocabulary has, and texts are made of short words,
// each about one token. The bound on all tokens together keeps a slip of the hand from filling the memory.
Result<std::vector<LoadPrompt>> make_dataset(const DatasetOptions& options, bool as_ids,
                                             const std::optional<text::Tokenizer>& tokenizer);

}  // namespace cairn::serve
