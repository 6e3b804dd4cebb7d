// POST /v1/chat/completions: the request, the answer and its chunks.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "serve/api/completion_parts.h"
#include "serve/api/completions.h"
#include "serve/api/sampling_request.h"

namespace cairn::serve {

struct ToolCall {
  std::string id, name;
  std::string arguments;  // JSON text
};

struct ChatMessage {
  std::string role;                    // system, developer, user, assistant, tool or function
  std::optional<std::string> content;  // text parts are joined by a space, as SGLang does
  std::string reasoning_content, name, tool_call_id;
  std::vector<ToolCall> tool_calls;
};

struct Tool {
  std::string name, description;
  Json parameters;  // a JSON schema, or null
  bool strict = false;
  Json as_sent;  // as the client wrote it, for the template
};

struct ToolChoice {
  enum class Kind { kNone, kAuto, kRequired, kNamed };
  Kind kind = Kind::kNone;
  std::string name;
};

struct ChatRequest {
  std::string model;
  std::vector<ChatMessage> messages;
  std::vector<int64_t> input_ids;  // instead of what the template would give; empty: none
  std::vector<Tool> tools;
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  Sampling sampling;  // max_new_tokens is empty when not given: up to the model's context
  StreamOptions streaming;
  Origin origin;
  bool logprobs = false;
  int64_t top_logprobs = 0;
  bool continue_final_message = false, add_generation_prompt = true;
  bool separate_reasoning = true, stream_reasoning = true;
  std::string reasoning_effort;
  Json template_kwargs;  // chat_template_kwargs: null or an object
};
Parsed<ChatRequest> parse_chat(const Json& body);

// The message in the form that chat templates read: arguments of tool calls as objects.
Json template_message(const ChatMessage& message);

// One whole choice of an answer.
struct ChatChoice {
  int64_t index = 0;
  std::optional<std::string> content;
  std::string reasoning_content;
  std::vector<ToolCall> tool_calls;
  std::optional<std::vector<TokenLogprob>> logprobs;
  Finish finish;
};
std::string chat_json(const AnswerHead& head, const std::vector<ChatChoice>& choices, const Usage& usage);

// What one chunk adds to a choice. The first chunk of a choice carries its role and an empty content.
struct ChatDelta {
  int64_t index = 0;
  bool first = false;
  std::string content, reasoning_content;
  // A piece of a tool call: its id and name come with the first piece, its arguments in any number of pieces.
  struct CallPiece {
    int64_t index = 0;
    std::string id, name, arguments;
  };
  std::vector<CallPiece> tool_calls;
  std::optional<std::vector<TokenLogprob>> logprobs;
  std::optional<Finish> finish;
};
inline constexpr const char* kChatChunk = "chat.completion.chunk";
std::string chat_chunk(const AnswerHead& head, const ChatDelta& delta, const Usage* usage, bool says_usage);

// "call_" and 24 random hexadecimal digits.
std::string new_call_id();

}  // namespace cairn::serve
