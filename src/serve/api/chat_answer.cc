// The answers of /v1/chat/completions.
#include "serve/api/chat.h"
#include "serve/http/http.h"

namespace cairn::serve {
namespace {

void write_token(JsonWriter& w, const std::string& text, double logprob) {
  w.field("token", text).field("logprob", logprob).key("bytes").begin_array();
  for (const char c : text) w.value(static_cast<int>(static_cast<unsigned char>(c)));
  w.end_array();
}

void write_logprobs(JsonWriter& w, const std::optional<std::vector<TokenLogprob>>& logprobs) {
  w.key("logprobs");
  if (!logprobs) {
    w.null();
    return;
  }
  w.begin_object().key("content").begin_array();
  for (const auto& token : *logprobs) {
    w.begin_object();
    write_token(w, token.text, token.logprob.value_or(0));
    w.key("top_logprobs").begin_array();
    for (const auto& top : token.top) {
      w.begin_object();
      write_token(w, top.text, top.logprob);
      w.end_object();
    }
    w.end_array().end_object();
  }
  w.end_array().end_object();
}

void write_function(JsonWriter& w, const std::string& name, const std::string& arguments) {
  w.key("function").begin_object();
  if (!name.empty()) w.field("name", name);
  w.field("arguments", arguments).end_object();
}

}  // namespace

std::string chat_json(const AnswerHead& head, const std::vector<ChatChoice>& choices, const Usage& usage) {
  JsonWriter w;
  w.begin_object();
  write_head(w, head, "chat.completion");
  w.key("choices").begin_array();
  for (const auto& choice : choices) {
    w.begin_object().field("index", choice.index).key("message").begin_object().field("role", "assistant");
    w.field("content", choice.content);
    if (!choice.reasoning_content.empty()) w.field("reasoning_content", choice.reasoning_content);
    if (!choice.tool_calls.empty()) {
      w.key("tool_calls").begin_array();
      for (const auto& call : choice.tool_calls) {
        w.begin_object().field("id", call.id).field("type", "function");
        write_function(w, call.name, call.arguments);
        w.end_object();
      }
      w.end_array();
    }
    w.end_object();
    write_logprobs(w, choice.logprobs);
    write_finish(w, choice.finish);
    w.end_object();
  }
  w.end_array().key("usage");
  write_usage(w, usage);
  return w.end_object().take();
}

std::string chat_chunk(const AnswerHead& head, const ChatDelta& delta, const Usage* usage, bool says_usage) {
  JsonWriter w;
  w.begin_object();
  write_head(w, head, kChatChunk);
  w.key("choices").begin_array().begin_object().field("index", delta.index).key("delta").begin_object();
  if (delta.first) w.field("role", "assistant");
  if (delta.first || !delta.content.empty()) w.field("content", delta.content);
  if (!delta.reasoning_content.empty()) w.field("reasoning_content", delta.reasoning_content);
  if (!delta.tool_calls.empty()) {
    w.key("tool_calls").begin_array();
    for (const auto& piece : delta.tool_calls) {
      w.begin_object().field("index", piece.index);
      if (!piece.id.empty()) w.field("id", piece.id).field("type", "function");
      write_function(w, piece.name, piece.arguments);
      w.end_object();
    }
    w.end_array();
  }
  w.end_object();
  write_logprobs(w, delta.logprobs);
  write_finish(w, delta.finish);
  w.end_object().end_array();
  if (usage) {
    write_usage(w.key("usage"), *usage);
  } else if (says_usage) {
    w.key("usage").null();
  }
  return w.end_object().take();
}

std::string new_call_id() { return "call_" + new_request_id(); }

}  // namespace cairn::serve
