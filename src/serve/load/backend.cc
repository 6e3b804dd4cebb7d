#include "serve/load/backend.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/strings.h"

namespace cairn::serve {
namespace {

constexpr int64_t kMostTokensAtOnce = 1'000'000;

int64_t number(const Json* j) { return j && j->as_int() ? std::max<int64_t>(0, *j->as_int()) : 0; }

// The message of {"error": {"message": …}}, {"error": "…"}, {"message": …} or {"detail": …}; empty when there is none.
std::string message_of(const Json& j) {
  const Json* error = j.find("error");
  if (error && error->as_string()) return *error->as_string();
  if (error && error->as_object()) return error->text("message", error->dump());
  if (!error && j.text("object") != "error") return {};
  return j.text("message", "an error without a message");
}

}  // namespace

const std::vector<std::string>& backend_names() {
  static const std::vector<std::string> names = {"sglang", "sglang-native", "sglang-oai", "sglang-oai-chat",
                                                 "vllm",   "vllm-chat",     "lmdeploy",   "lmdeploy-chat"};
  return names;
}

Backend backend_of(std::string_view name) {
  if (name == "sglang" || name == "sglang-native") return Backend::kSglang;
  return name.ends_with("-chat") ? Backend::kChat : Backend::kCompletions;
}

const char* route_of(Backend backend) {
  return backend == Backend::kSglang ? "/generate"
         : backend == Backend::kChat ? "/v1/chat/completions"
                                     : "/v1/completions";
}

std::string request_body(Backend backend, const LoadPrompt& prompt, const RequestOptions& options) {
  Json body(Json::Object{});
  if (backend == Backend::kSglang) {
    if (prompt.ids.empty()) {
      body.set("text", prompt.text);
    } else {
      Json::Array ids(prompt.ids.begin(), prompt.ids.end());
      body.set("input_ids", std::move(ids));
    }
    body.set(
        "sampling_params",
        Json::Object{{"temperature", 0.0}, {"max_new_tokens", prompt.output_len}, {"ignore_eos", options.ignore_eos}});
  } else {
    body.set("model", options.model);
    if (backend == Backend::kChat) {
      body.set("messages", Json::Array{Json::Object{{"role", "user"}, {"content", prompt.text}}});
    } else {
      body.set("prompt", prompt.text);
    }
    body.set("temperature", 0.0);
    body.set(backend == Backend::kChat ? "max_completion_tokens" : "max_tokens", prompt.output_len);
    body.set("ignore_eos", options.ignore_eos);
    if (options.stream) body.set("stream_options", Json::Object{{"include_usage", true}});
  }
  body.set("stream", options.stream);
  for (const auto& [key, value] : *options.extra.as_object()) body.set(key, value);
  return body.dump();
}

AnswerReader::AnswerReader(Backend backend, const LoadPrompt& prompt, bool stream)
    : backend_(backend), stream_(stream) {
  out_.prompt_tokens = prompt.prompt_len;
}

void AnswerReader::take(std::string_view data, double now) {
  if (failed()) return;
  if (stream_ && data == "[DONE]") {
    over_ = true;
    return;
  }
  const auto answer = Json::parse(data);
  if (!answer || !answer->as_object()) {
    out_.error = fmt::format("no JSON object: {}", data.substr(0, 200));
    return;
  }
  out_.error = message_of(*answer);
  if (failed()) return;
  backend_ == Backend::kSglang ? take_native(*answer, now) : take_openai(*answer, now);
}

void AnswerReader::take_native(const Json& answer, double now) {
  const Json* meta = answer.find("meta_info");
  const Json* finish = meta ? meta->find("finish_reason") : nullptr;
  std::optional<int64_t> tokens;
  if (meta && meta->find("completion_tokens")) tokens = number(meta->find("completion_tokens"));
  if (meta && meta->find("prompt_tokens")) out_.prompt_tokens = number(meta->find("prompt_tokens"));
  if (meta) out_.cached_tokens = number(meta->find("cached_tokens"));
  if (finish && finish->text("type") == "abort") {
    out_.error = "aborted: " + finish->text("message", "no reason given");
    return;
  }
  over_ = over_ || (finish && !finish->is_null());
  take_text(answer.text("text"), true, tokens, now);
}

void AnswerReader::take_openai(const Json& answer, double now) {
  take_usage(answer);
  const Json* choices = answer.find("choices");
  if (!choices || !choices->as_array() || choices->as_array()->empty()) return;
  const Json& choice = choices->as_array()->front();
  std::string text = choice.text("text");
  if (const Json* part = choice.find(stream_ ? "delta" : "message"))
    text = part->text("reasoning_content") + part->text("content");
  const Json* finish = choice.find("finish_reason");
  over_ = over_ || (finish && !finish->is_null());
  const Json* usage = answer.find("usage");
  const bool counts = usage && usage->find("completion_tokens");
  take_text(text, false, counts ? std::optional(number(usage->find("completion_tokens"))) : std::nullopt, now);
}

void AnswerReader::take_usage(const Json& answer) {
  const Json* usage = answer.find("usage");
  if (!usage || !usage->as_object()) return;
  if (const Json* n = usage->find("prompt_tokens")) out_.prompt_tokens = number(n);
  if (const Json* n = usage->find("completion_tokens")) told_ = number(n);
  if (const Json* details = usage->find("prompt_tokens_details"))
    if (details->as_object()) out_.cached_tokens = number(details->find("cached_tokens"));
}

void AnswerReader::take_text(std::string_view text, bool whole, std::optional<int64_t> tokens, double now) {
  const bool grew = whole ? text.size() > out_.text.size() : !text.empty();
  if (whole) {
    out_.text = text;
  } else {
    out_.text += text;
  }
  if (tokens) told_ = tokens;
  // Tokens may be part of a character, and then bring no text yet: only where they are counted can they be seen.
  const int64_t fresh = tokens ? *tokens - counted_ : grew ? 1 : 0;
  if (!stream_ || fresh <= 0) return;
  if (fresh > kMostTokensAtOnce) {
    out_.error = fmt::format("the server claims {} tokens in one event", fresh);
    return;
  }
  if (counted_ == 0) {
    out_.ttft = now;
  } else {
    out_.itl.insert(out_.itl.end(), static_cast<size_t>(fresh), (now - last_) / static_cast<double>(fresh));
  }
  counted_ += fresh;
  last_ = now;
}

Outcome AnswerReader::finish(double now) {
  out_.latency = now;
  out_.output_tokens = told_.value_or(counted_);
  if (!failed() && !over_) out_.error = stream_ ? "the stream ended before the answer did" : "an answer without an end";
  out_.ok = !failed();
  return std::move(out_);
}

std::string error_text(int status, std::string_view body) {
  const auto json = Json::parse(body);
  std::string what = json && json->as_object() ? message_of(*json) : std::string();
  if (what.empty()) what = trim(body).substr(0, 300);
  return fmt::format("HTTP {}: {}", status, what.empty() ? "without a word" : what);
}

}  // namespace cairn::serve
