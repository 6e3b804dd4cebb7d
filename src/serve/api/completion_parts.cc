#include "serve/api/completion_parts.h"

#include <chrono>

namespace cairn::serve {

const char* finish_name(Finish::Why why) {
  switch (why) {
    case Finish::Why::kStop:
      return "stop";
    case Finish::Why::kLength:
      return "length";
    case Finish::Why::kToolCalls:
      return "tool_calls";
    case Finish::Why::kAbort:
      return "abort";
  }
  return "stop";
}

std::string answer_id(const char* prefix, const std::string& request_id) { return prefix + request_id; }

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void write_head(JsonWriter& w, const AnswerHead& head, const char* object) {
  w.field("id", head.id).field("object", object).field("created", head.created).field("model", head.model);
}

void write_usage(JsonWriter& w, const Usage& usage) {
  w.begin_object().field("prompt_tokens", usage.prompt_tokens).field("completion_tokens", usage.completion_tokens);
  w.field("total_tokens", usage.prompt_tokens + usage.completion_tokens).key("prompt_tokens_details");
  if (usage.cached_tokens) {
    w.begin_object().field("cached_tokens", *usage.cached_tokens).end_object();
  } else {
    w.null();
  }
  if (usage.reasoning_tokens) {
    w.key("completion_tokens_details").begin_object();
    w.field("reasoning_tokens", *usage.reasoning_tokens).end_object();
  }
  w.end_object();
}

void write_finish(JsonWriter& w, const std::optional<Finish>& finish) {
  w.key("finish_reason");
  finish ? w.value(finish_name(finish->why)) : w.null();
  w.key("matched_stop");
  if (finish && finish->matched_text) {
    w.value(*finish->matched_text);
  } else if (finish && finish->matched_token) {
    w.value(*finish->matched_token);
  } else {
    w.null();
  }
}

}  // namespace cairn::serve
