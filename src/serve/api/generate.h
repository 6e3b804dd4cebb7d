// POST /generate, SGLang's own route: the request, the answer and its events; and /abort_request.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "serve/api/completion_parts.h"
#include "serve/api/completions.h"
#include "serve/api/sampling_request.h"

namespace cairn::serve {

struct GenerateRequest {
  struct Item {
    Prompt prompt;
    Sampling sampling;  // max_new_tokens is 128 when not given
    std::string rid;    // empty: one is made
    bool return_logprob = false;
    int64_t logprob_start_len = -1;  // from this token of the prompt on; -1: of the answer only
    int64_t top_logprobs_num = 0;
    std::vector<int64_t> token_ids_logprob;  // also report these tokens
  };
  std::vector<Item> items;
  bool batch = false;  // a list was sent, so a list is answered
  bool stream = false, return_text_in_logprobs = false;
  bool require_reasoning = false;  // grammars hold behind the thoughts only
  Origin origin;
};
Parsed<GenerateRequest> parse_generate(const Json& body);

// What is known of one item so far; `text` and `output_ids` grow from event to event.
struct Generated {
  std::string id, text;
  std::vector<int64_t> output_ids;
  Usage usage;
  std::optional<Finish> finish;  // none while it goes on
  double e2e_seconds = 0;        // written once it is over
  struct Logprobs {
    std::vector<TokenLogprob> input, output;  // the first of `input` has no logarithm
    bool top = false, asked = false;          // report the likeliest tokens, too, and those that were named
  };
  std::optional<Logprobs> logprobs;
  std::optional<int64_t> index;  // within a batch that streams
};
// {"text", "output_ids", "meta_info"}. `texts`: return_text_in_logprobs.
std::string generated_json(const Generated& g, bool texts);
// A list of answers that are JSON already.
std::string json_list(const std::vector<std::string>& items);
// An error within a stream whose head has been sent.
std::string generated_error(const ApiError& e);

struct AbortRequest {
  std::string rid;
  bool all = false;
};
Parsed<AbortRequest> parse_abort(const Json& body);

}  // namespace cairn::serve
