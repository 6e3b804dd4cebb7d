// What the answers of all routes are made of.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "serve/http/json_writer.h"

namespace cairn::serve {

// A token with the natural logarithm of its probability, and the likeliest tokens in its place. `text` are the token's
// bytes, which need not be whole characters.
struct TokenLogprob {
  struct Alternative {
    int64_t id = 0;
    std::string text;
    double logprob = 0;
  };
  int64_t id = 0;
  std::string text;
  std::optional<double> logprob;            // none for the first token of a prompt
  std::vector<Alternative> top{}, asked{};  // the likeliest tokens, and those that were named
};

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0;
  std::optional<int64_t> cached_tokens, reasoning_tokens;  // told when they are known
};

// Why an answer ended. `matched` is the stop text or the token id that ended it.
struct Finish {
  enum class Why { kStop, kLength, kToolCalls, kAbort };
  Why why = Why::kStop;
  std::optional<std::string> matched_text;
  std::optional<int64_t> matched_token;
  int64_t length = 0;   // of the answer in tokens, for kLength
  std::string message;  // for kAbort
  int status = 500;     // for kAbort
};
const char* finish_name(Finish::Why why);  // "stop", "length", "tool_calls", "abort"

// What all chunks of one answer, and the whole answer, begin with.
struct AnswerHead {
  std::string id;       // "cmpl-…" or "chatcmpl-…"
  int64_t created = 0;  // seconds since 1970
  std::string model;
};
// An id for an answer to that request: `prefix` and the request's id.
std::string answer_id(const char* prefix, const std::string& request_id);
int64_t unix_seconds();

void write_head(JsonWriter& w, const AnswerHead& head, const char* object);
void write_usage(JsonWriter& w, const Usage& usage);
// "finish_reason" and "matched_stop"; both null when there is no end yet.
void write_finish(JsonWriter& w, const std::optional<Finish>& finish);

}  // namespace cairn::serve
