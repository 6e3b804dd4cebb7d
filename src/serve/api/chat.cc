#include "serve/api/chat.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/strings.h"

namespace cairn::serve {
namespace {

constexpr size_t kMostMessages = 10'000, kMostTools = 1024, kLongestName = 64;

void read_tool_calls(RequestReader& r, const std::string& where, const Json& list, ChatMessage& out) {
  if (!list.as_array()) return r.fail("tool_calls", fmt::format("expected a list, got {}", list.kind()));
  for (size_t i = 0; i < list.as_array()->size(); ++i) {
    ToolCall call;
    std::string type = "function";
    RequestReader one((*list.as_array())[i], fmt::format("{}.tool_calls[{}]", where, i));
    one("id", call.id)("type", type, "", one_of({"function"}));
    one.ignore({"index"});
    if (const Json* function = one.find("function")) {
      RequestReader inner(*function, one.path("function"));
      inner("name", call.name, "", required());
      const Json* arguments = inner.find("arguments");
      if (arguments && !arguments->as_string() && !arguments->as_object())
        inner.fail("arguments", fmt::format("expected JSON text, got {}", arguments->kind()));
      if (arguments) call.arguments = arguments->as_string() ? *arguments->as_string() : arguments->dump();
      if (auto error = inner.finish()) one.fail(*std::move(error));
    } else {
      one.fail("function", "is missing");
    }
    if (auto error = one.finish()) return r.fail(*std::move(error));
    out.tool_calls.push_back(std::move(call));
  }
}

void read_content(RequestReader& r, const std::string& where, const Json& content, ChatMessage& out) {
  if (content.as_string()) return void(out.content = *content.as_string());
  if (!content.as_array())
    return r.fail("content", fmt::format("expected a string or a list of parts, got {}", content.kind()));
  out.content = "";
  for (size_t i = 0; i < content.as_array()->size(); ++i) {
    std::string type, text;
    RequestReader part((*content.as_array())[i], fmt::format("{}.content[{}]", where, i));
    part("type", type, "", required());
    if (part.ok() && type != "text" && type != "refusal")
      part.fail("type", fmt::format("\"{}\": this server reads parts of type text only", type.substr(0, 40)));
    part(type == "refusal" ? "refusal" : "text", text, "", required());
    if (auto error = part.finish()) return r.fail(*std::move(error));
    *out.content += (i == 0 ? "" : " ") + text;
  }
}

void read_messages(RequestReader& r, ChatRequest& out) {
  const Json* list = r.find("messages");
  if (!list) return r.fail("messages", "is missing");
  if (!list->as_array()) return r.fail("messages", fmt::format("expected a list, got {}", list->kind()));
  if (list->as_array()->empty()) return r.fail("messages", "the list is empty");
  if (list->as_array()->size() > kMostMessages) return r.fail("messages", fmt::format("more than {}", kMostMessages));
  for (size_t i = 0; i < list->as_array()->size(); ++i) {
    ChatMessage message;
    const std::string where = fmt::format("messages[{}]", i);
    RequestReader one((*list->as_array())[i], where);
    one("role", message.role, "", required().one_of({"system", "developer", "user", "assistant", "tool", "function"}));
    one("name", message.name)("tool_call_id", message.tool_call_id);
    one("reasoning_content", message.reasoning_content, "", alias({"reasoning"}));
    one.ignore({"refusal", "annotations", "audio", "function_call"});  // of answers that clients send back
    const Json *content = one.find("content"), *calls = one.find("tool_calls");
    if (calls && one.ok()) read_tool_calls(one, where, *calls, message);
    if (content && one.ok()) read_content(one, where, *content, message);
    if (!content && message.role != "assistant") one.fail("content", "is missing");
    if (auto error = one.finish()) return r.fail(*std::move(error));
    out.messages.push_back(std::move(message));
  }
}

bool good_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, [](char c) {
    const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return alphanumeric || c == '_' || c == '-' || c == '.';
  });
}

void read_tools(RequestReader& r, ChatRequest& out) {
  const Json* list = r.find("tools");
  if (!list) return;
  if (!list->as_array()) return r.fail("tools", fmt::format("expected a list, got {}", list->kind()));
  if (list->as_array()->size() > kMostTools) return r.fail("tools", fmt::format("more than {}", kMostTools));
  for (size_t i = 0; i < list->as_array()->size(); ++i) {
    Tool tool;
    std::string type = "function";
    RequestReader one((*list->as_array())[i], fmt::format("tools[{}]", i));
    one("type", type, "", one_of({"function"}));
    if (const Json* function = one.find("function")) {
      RequestReader inner(*function, one.path("function"));
      inner("name", tool.name, "", required())("description", tool.description)("strict", tool.strict);
      if (const Json* schema = inner.find("parameters")) {
        if (!schema->as_object()) inner.fail("parameters", fmt::format("expected a schema, got {}", schema->kind()));
        tool.parameters = *schema;
      }
      if (inner.ok() && !good_name(tool.name))
        inner.fail("name", fmt::format("must be 1 to {} letters, digits and any of \"_-.\"", kLongestName));
      const bool taken = std::ranges::find(out.tools, tool.name, &Tool::name) != out.tools.end();
      if (inner.ok() && taken) inner.fail("name", fmt::format("there are two tools named {}", tool.name));
      if (auto error = inner.finish()) one.fail(*std::move(error));
    } else {
      one.fail("function", "is missing");
    }
    if (auto error = one.finish()) return r.fail(*std::move(error));
    tool.as_sent = (*list->as_array())[i];
    out.tools.push_back(std::move(tool));
  }
}

void read_tool_choice(RequestReader& r, ChatRequest& out) {
  using Kind = ToolChoice::Kind;
  const Json* choice = r.find("tool_choice");
  out.tool_choice.kind = out.tools.empty() ? Kind::kNone : Kind::kAuto;
  if (!choice || !r.ok()) return;
  if (const auto* word = choice->as_string()) {
    if (*word == "none") out.tool_choice.kind = Kind::kNone;
    if (*word == "required") out.tool_choice.kind = Kind::kRequired;
    if (*word != "none" && *word != "required" && *word != "auto")
      return r.fail("tool_choice", fmt::format("\"{}\" is none of none, auto, required", word->substr(0, 40)));
  } else {
    const Json* function = choice->find("function");
    out.tool_choice = {Kind::kNamed, function ? function->text("name") : ""};
    if (choice->text("type") != "function" || out.tool_choice.name.empty())
      return r.fail("tool_choice",
                    "expected none, auto, required or {\"type\": \"function\", \"function\": {\"name\": …}}");
    if (std::ranges::find(out.tools, out.tool_choice.name, &Tool::name) == out.tools.end())
      return r.fail("tool_choice", fmt::format("there is no tool named {}", out.tool_choice.name.substr(0, 80)));
  }
  if (out.tool_choice.kind == Kind::kRequired && out.tools.empty()) r.fail("tool_choice", "required, without tools");
}

void read_lengths(RequestReader& r, ChatRequest& out) {
  std::optional<int64_t> older;
  r("max_tokens", older, "tokens at most", between(1, 1e9));
  r("max_completion_tokens", out.sampling.max_new_tokens, "tokens at most", between(1, 1e9));
  r("min_tokens", out.sampling.min_new_tokens, "no end before so many tokens", between(0, 1e9));
  if (older && out.sampling.max_new_tokens && older != out.sampling.max_new_tokens)
    r.fail("max_tokens", "differs from max_completion_tokens; give one of them");
  if (older) out.sampling.max_new_tokens = older;
}

}  // namespace

Parsed<ChatRequest> parse_chat(const Json& body) {
  ChatRequest out;
  RequestReader r(body);
  r("model", out.model, "which model; the first language model without");
  read_lengths(r, out);
  r("seed", out.sampling.seed, "the same seed gives the same tokens");
  r("logprobs", out.logprobs, "the probabilities of the chosen tokens");
  r("top_logprobs", out.top_logprobs, "and of so many likeliest ones", between(0, 20));
  r("parallel_tool_calls", out.parallel_tool_calls, "several calls in one answer");
  r("continue_final_message", out.continue_final_message, "go on with the last message instead of answering it");
  r("add_generation_prompt", out.add_generation_prompt, "begin an answer after the messages");
  r("separate_reasoning", out.separate_reasoning, "what the model thinks apart from what it says");
  r("stream_reasoning", out.stream_reasoning, "what the model thinks as it comes, not all at once");
  r("reasoning_effort", out.reasoning_effort, "for templates that know it");
  r("chat_template_kwargs", out.template_kwargs, "variables for the chat template");
  read_sampling(r, out.sampling);
  read_response_format(r, out.sampling);
  read_stream(r, out.streaming);
  read_origin(r, out.origin);
  if (r.ok()) read_messages(r, out);
  if (r.ok()) read_tools(r, out);
  read_tool_choice(r, out);
  if (const Json* ids = r.find("input_ids")) out.input_ids = read_ids(r, "input_ids", *ids);
  r.ignore({"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
            "verbosity", "messages", "tools"});
  r.unsupported({"functions", "function_call", "audio", "prediction", "web_search_options", "lora_path",
                 "session_params", "custom_params", "custom_logit_processor", "return_hidden_states", "bootstrap_host",
                 "bootstrap_port", "bootstrap_room", "data_parallel_rank"});
  r.unsupported({"modalities"}, Json(Json::Array{Json("text")}));
  r.unsupported({"best_of"}, Json(out.sampling.n));
  check_sampling(r, out.sampling, {"max_tokens", "min_tokens"});
  if (out.top_logprobs > 0 && !out.logprobs) r.fail("top_logprobs", "is allowed only with \"logprobs\": true");
  if (!out.template_kwargs.is_null() && !out.template_kwargs.as_object())
    r.fail("chat_template_kwargs", fmt::format("expected an object, got {}", out.template_kwargs.kind()));
  if (r.ok() && out.continue_final_message && out.messages.back().role != "assistant")
    r.fail("continue_final_message", "the last message is not the assistant's");
  if (out.sampling.grammar.kind != Grammar::Kind::kNone &&
      (out.tool_choice.kind == ToolChoice::Kind::kRequired || out.tool_choice.kind == ToolChoice::Kind::kNamed))
    r.fail("tool_choice", "a call that is demanded excludes response_format, json_schema, regex and ebnf");
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

Json template_message(const ChatMessage& message) {
  Json out(Json::Object{});
  out.set("role", message.role);
  out.set("content", message.content ? Json(*message.content) : Json());
  if (!message.reasoning_content.empty()) out.set("reasoning_content", message.reasoning_content);
  if (!message.name.empty()) out.set("name", message.name);
  if (!message.tool_call_id.empty()) out.set("tool_call_id", message.tool_call_id);
  if (message.tool_calls.empty()) return out;
  Json::Array calls;
  for (const ToolCall& call : message.tool_calls) {
    const auto parsed = Json::parse(call.arguments);
    Json function(Json::Object{});
    function.set("name", call.name);
    function.set("arguments", parsed ? *parsed : Json(call.arguments));
    Json one(Json::Object{});
    one.set("id", call.id);
    one.set("type", "function");
    one.set("function", std::move(function));
    calls.push_back(std::move(one));
  }
  out.set("tool_calls", std::move(calls));
  return out;
}

}  // namespace cairn::serve
