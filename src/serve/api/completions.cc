#include "serve/api/completions.h"

#include <fmt/core.h>

#include <algorithm>

namespace cairn::serve {
namespace {

constexpr size_t kMostPrompts = 1024;
constexpr const char* kObject = "text_completion";

// The arrays that OpenAI's completions have, one element a token.
void write_logprobs(JsonWriter& w, const CompletionChoice& choice) {
  w.key("logprobs");
  if (!choice.logprobs) {
    w.null();
    return;
  }
  const auto& tokens = *choice.logprobs;
  w.begin_object().key("tokens").begin_array();
  for (const auto& token : tokens) w.value(token.text);
  w.end_array().key("token_logprobs").begin_array();
  for (const auto& token : tokens) w.value(token.logprob);
  w.end_array().key("top_logprobs").begin_array();
  for (const auto& token : tokens) {
    if (!token.logprob) {
      w.null();
      continue;
    }
    w.begin_object();
    for (const auto& top : token.top) w.field(top.text, top.logprob);
    w.end_object();
  }
  w.end_array().key("text_offset").begin_array();
  int64_t offset = choice.text_offset;
  for (const auto& token : tokens) {
    w.value(offset);
    offset += std::ranges::count_if(token.text, [](char c) { return (c & 0xC0) != 0x80; });
  }
  w.end_array().end_object();
}

void write_choice(JsonWriter& w, const CompletionChoice& choice) {
  w.begin_object().field("index", choice.index).field("text", choice.text);
  write_logprobs(w, choice);
  write_finish(w, choice.finish);
  w.end_object();
}

}  // namespace

void read_stream(RequestReader& r, StreamOptions& out) {
  r("stream", out.stream, "the answer as server-sent events");
  const Json* options = r.find("stream_options");
  if (!options || !r.ok()) return;
  if (!out.stream) return r.fail("stream_options", "is allowed only with \"stream\": true");
  RequestReader inner(*options, "stream_options");
  inner("include_usage", out.include_usage, "a last chunk with the number of tokens");
  inner("continuous_usage_stats", out.continuous_usage, "the number of tokens so far in every chunk");
  inner.ignore({"include_obfuscation"});
  if (auto error = inner.finish()) r.fail(*std::move(error));
}

void read_origin(RequestReader& r, Origin& out) {
  r("rid", out.rid, "a name for the request, to abort it by");
  r("priority", out.priority, "higher goes first", between(-1e6, 1e6));
  r("extra_key", out.extra_key, "requests with different keys share no cache", alias({"cache_salt"}));
  r("user", out.user, "whom the request is for");
  if (out.rid.size() > 128) r.fail("rid", "longer than 128 bytes");
  if (out.extra_key.size() > 1024) r.fail("extra_key", "longer than 1024 bytes");
}

Parsed<CompletionRequest> parse_completion(const Json& body) {
  CompletionRequest out;
  RequestReader r(body);
  out.sampling.max_new_tokens = 16;
  r("model", out.model, "which model; the first language model without");
  r("max_tokens", out.sampling.max_new_tokens, "tokens at most", between(0, 1e9));
  r("min_tokens", out.sampling.min_new_tokens, "no end before so many tokens", between(0, 1e9));
  r("seed", out.sampling.seed, "the same seed gives the same tokens");
  r("echo", out.echo, "the prompt, too");
  r("logprobs", out.logprobs, "so many likeliest tokens for each token", between(0, 20));
  read_sampling(r, out.sampling);
  read_response_format(r, out.sampling);
  read_stream(r, out.streaming);
  read_origin(r, out.origin);
  r.ignore({"metadata", "store", "service_tier"});
  r.unsupported({"suffix", "lora_path", "session_params", "custom_params", "custom_logit_processor",
                 "return_hidden_states", "bootstrap_host", "bootstrap_port", "bootstrap_room", "data_parallel_rank"});
  r.unsupported({"best_of"}, Json(out.sampling.n));
  if (const Json* prompt = r.find("prompt")) {
    bool batch = false;
    out.prompts = read_prompts(r, "prompt", *prompt, kMostPrompts, batch);
  } else {
    r.fail("prompt", "is missing");
  }
  check_sampling(r, out.sampling, {"max_tokens", "min_tokens"});
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

std::string completion_json(const AnswerHead& head, const std::vector<CompletionChoice>& choices, const Usage& usage) {
  JsonWriter w;
  w.begin_object();
  write_head(w, head, kObject);
  w.key("choices").begin_array();
  for (const auto& choice : choices) write_choice(w, choice);
  w.end_array().key("usage");
  write_usage(w, usage);
  return w.end_object().take();
}

std::string completion_chunk(const AnswerHead& head, const CompletionChoice& choice, const Usage* usage,
                             bool says_usage) {
  JsonWriter w;
  w.begin_object();
  write_head(w, head, kObject);
  w.key("choices").begin_array();
  write_choice(w, choice);
  w.end_array();
  if (usage) {
    write_usage(w.key("usage"), *usage);
  } else if (says_usage) {
    w.key("usage").null();
  }
  return w.end_object().take();
}

std::string usage_chunk(const AnswerHead& head, const char* object, const Usage& usage) {
  JsonWriter w;
  w.begin_object();
  write_head(w, head, object);
  w.key("choices").begin_array().end_array().key("usage");
  write_usage(w, usage);
  return w.end_object().take();
}

}  // namespace cairn::serve
