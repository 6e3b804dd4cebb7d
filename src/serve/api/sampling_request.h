// What a request may say about how tokens are chosen and where the answer ends: the same on all routes, but for names.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fields.h"
#include "serve/api/request_reader.h"

namespace cairn::serve {

// What the answer has to match. `text` is the schema (JSON), the expression or the grammar.
struct Grammar {
  enum class Kind { kNone, kJsonObject, kJsonSchema, kRegex, kEbnf };
  Kind kind = Kind::kNone;
  std::string text;
};

// Fields that are empty were not given: the model's own defaults count (generation_config.json).
struct Sampling {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_new_tokens, seed;
  double frequency_penalty = 0, presence_penalty = 0;
  int64_t min_new_tokens = 0, n = 1;
  std::vector<std::string> stop, stop_regex;
  std::vector<int64_t> stop_token_ids;
  std::vector<std::pair<int64_t, double>> logit_bias;  // token, what is added to its logit
  bool ignore_eos = false, skip_special_tokens = true, spaces_between_special_tokens = true, no_stop_trim = false;
  Grammar grammar;
};

// The members that every route has, in the names they share. The other members differ in name by route.
struct SamplingFields {
  Sampling& out;
  Json stop, stop_regex, logit_bias, json_schema;
  std::optional<std::string> regex, ebnf;

  void fields(auto& f) {
    f("temperature", out.temperature, "0 takes the likeliest token", at_least(0));
    f("top_p", out.top_p, "only the likeliest tokens that together reach this probability", between(0, 1));
    f("top_k", out.top_k, "only the k likeliest tokens; -1: all", between(-1, 1e9));
    f("min_p", out.min_p, "only tokens of this share of the likeliest one's probability", between(0, 1));
    f("frequency_penalty", out.frequency_penalty, "off a token's logit, for each time it came", between(-2, 2));
    f("presence_penalty", out.presence_penalty, "off a token's logit, once it came", between(-2, 2));
    f("repetition_penalty", out.repetition_penalty, "divides the logits of tokens seen before", between(0, 2));
    f("n", out.n, "answers to one prompt", between(1, 128));
    f("stop", stop, "a text, or a list of texts, that end the answer");
    f("stop_regex", stop_regex, "an expression, or a list of them, that end the answer");
    f("stop_token_ids", out.stop_token_ids, "tokens that end the answer");
    f("logit_bias", logit_bias, "an object: token id -> what is added to its logit, in [-100, 100]");
    f("ignore_eos", out.ignore_eos, "go on after an end token");
    f("skip_special_tokens", out.skip_special_tokens, "leave special tokens out of the text");
    f("spaces_between_special_tokens", out.spaces_between_special_tokens, "spaces around those that are kept");
    f("no_stop_trim", out.no_stop_trim, "keep the text that ended the answer");
    f("json_schema", json_schema, "a schema that the answer matches: its text, or an object");
    f("regex", regex, "an expression that the answer matches");
    f("ebnf", ebnf, "a grammar that the answer matches");
  }
};

// Reads SamplingFields and what they leave to be said: mixed types, and what excludes each other.
void read_sampling(RequestReader& r, Sampling& out);
// What can be checked only when all is read; `names` are those of this route.
struct SamplingNames {
  const char *max_tokens, *min_tokens;
};
void check_sampling(RequestReader& r, const Sampling& s, const SamplingNames& names);
// OpenAI's response_format, into the grammar. An error when a grammar was given otherwise as well.
void read_response_format(RequestReader& r, Sampling& out);

// A string or a list of strings; at most `most` of them.
std::vector<std::string> read_texts(RequestReader& r, std::string_view name, const Json& value, size_t most);
// A list of token ids.
std::vector<int64_t> read_ids(RequestReader& r, std::string_view name, const Json& value);

// A prompt as text or as token ids, one or several.
struct Prompt {
  std::string text;
  std::vector<int64_t> ids;
  bool tokenized = false;  // `ids` counts
};
// A string, a list of strings, a list of ids, or a list of such lists: at most `most` prompts, and never none.
// `batch` says whether it was a list of prompts.
std::vector<Prompt> read_prompts(RequestReader& r, std::string_view name, const Json& value, size_t most, bool& batch);

}  // namespace cairn::serve
