// POST /v1/completions: the request, the answer and its chunks.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "serve/api/completion_parts.h"
#include "serve/api/sampling_request.h"

namespace cairn::serve {

// `stream` and what goes with it.
struct StreamOptions {
  bool stream = false, include_usage = false;
  bool continuous_usage = false;  // usage in every chunk
};
void read_stream(RequestReader& r, StreamOptions& out);

// Who asks, for the log and for the scheduler.
struct Origin {
  std::string rid;        // empty: the request's id
  int64_t priority = 0;   // higher goes first
  std::string extra_key;  // requests with different keys share no cache
  std::string user;
};
void read_origin(RequestReader& r, Origin& out);

struct CompletionRequest {
  std::string model;
  std::vector<Prompt> prompts;
  Sampling sampling;  // max_new_tokens is 16 when not given, as OpenAI has it
  StreamOptions streaming;
  Origin origin;
  bool echo = false;
  std::optional<int64_t> logprobs;  // likeliest tokens to report, beside the chosen one
};
Parsed<CompletionRequest> parse_completion(const Json& body);

struct CompletionChoice {
  int64_t index = 0;
  std::string text;
  std::optional<std::vector<TokenLogprob>> logprobs;
  int64_t text_offset = 0;  // of this text within the answer, in characters
  std::optional<Finish> finish;
};
std::string completion_json(const AnswerHead& head, const std::vector<CompletionChoice>& choices, const Usage& usage);
// One chunk's JSON. `usage` is null when it is not wanted here; `says_usage` writes it as null then, as OpenAI does in
// streams that end with a usage chunk.
std::string completion_chunk(const AnswerHead& head, const CompletionChoice& choice, const Usage* usage,
                             bool says_usage);

// The last chunk of a stream that asked for usage: no choices. `object` is that of the stream's other chunks.
std::string usage_chunk(const AnswerHead& head, const char* object, const Usage& usage);

}  // namespace cairn::serve
