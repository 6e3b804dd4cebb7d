// /v1/chat/completions: thoughts, content and tool calls are told apart as they come.
#include <algorithm>

#include "base/strings.h"
#include "serve/language_routes.h"

namespace cairn::serve {
namespace {

constexpr size_t kPromptEnd = 8;  // tokens that show whether a prompt opened or closed the thoughts

// What an answer must be so that it calls the tools that were asked for: a list of {"name": …, "parameters": …}.
std::string call_schema(const ChatRequest& request) {
  Json::Array ways;
  for (const Tool& tool : request.tools) {
    if (request.tool_choice.kind == ToolChoice::Kind::kNamed && tool.name != request.tool_choice.name) continue;
    Json parameters = tool.parameters;
    if (!parameters.as_object()) parameters = Json::Object{{"type", "object"}};
    ways.push_back(Json::Object{
        {"type", "object"},
        {"properties", Json::Object{{"name", Json::Object{{"const", tool.name}}}, {"parameters", parameters}}},
        {"required", Json::Array{"name", "parameters"}},
        {"additionalProperties", false}});
  }
  Json::Object schema{{"type", "array"}, {"minItems", 1}, {"items", Json::Object{{"anyOf", std::move(ways)}}}};
  if (!request.parallel_tool_calls || request.tool_choice.kind == ToolChoice::Kind::kNamed)
    schema.emplace_back("maxItems", 1);
  return Json(std::move(schema)).dump();
}

bool forces_call(const ChatRequest& request) {
  return request.tool_choice.kind == ToolChoice::Kind::kRequired ||
         request.tool_choice.kind == ToolChoice::Kind::kNamed;
}

// The calls that a forced answer says; none when it was cut off.
std::vector<text::ToolCallDelta> forced_calls(const std::string& text) {
  std::vector<text::ToolCallDelta> out;
  const auto list = Json::parse(text);
  if (!list || !list->as_array()) return out;
  for (const Json& call : *list->as_array())
    if (const Json* parameters = call.find("parameters"))
      out.push_back({out.size(), new_call_id(), call.text("name"), parameters->dump()});
  return out;
}

// One choice: its text on the way through the parsers, and what came of it so far.
struct Choice {
  std::optional<text::ReasoningParser> reasoning;
  std::unique_ptr<text::ToolCallParser> tools;
  bool forced = false;         // the whole text is a list of calls
  std::string text;            // of a forced answer
  std::string held_reasoning;  // where thoughts are not streamed
  ChatChoice whole;
  bool begun = false;

  // What `text` adds. `last`: nothing follows.
  ChatDelta add(std::string_view text_piece, bool last) {
    ChatDelta d;
    d.index = whole.index;
    std::string content(text_piece);
    if (reasoning) {
      auto piece = reasoning->push(text_piece);
      d.reasoning_content = std::move(piece.reasoning);
      content = std::move(piece.content);
      if (last) {
        piece = reasoning->finish();
        d.reasoning_content += piece.reasoning;
        content += piece.content;
      }
    }
    std::vector<text::ToolCallDelta> calls;
    if (forced) {
      text += content;
      content.clear();
      if (last) calls = forced_calls(text);
      if (last && calls.empty()) content = text;
    } else if (tools) {
      auto piece = tools->push(content);
      content = std::move(piece.content);
      calls = std::move(piece.calls);
      if (last) {
        piece = tools->finish();
        content += piece.content;
        std::ranges::move(piece.calls, std::back_inserter(calls));
      }
    }
    d.content = std::move(content);
    for (auto& call : calls) {
      d.tool_calls.push_back({static_cast<int64_t>(call.index), call.id, call.name, call.arguments});
      if (!call.id.empty()) whole.tool_calls.push_back({call.id, call.name, {}});
      whole.tool_calls.back().arguments += call.arguments;
    }
    whole.reasoning_content += d.reasoning_content;
    if (!d.content.empty()) whole.content = whole.content.value_or("") + d.content;
    return d;
  }
};

class Chat final : public Job {
 public:
  Chat(const ChatRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply,
       std::vector<Choice> choices)
      : Job(model, std::move(reply), desk),
        streaming_(request.streaming),
        stream_reasoning_(request.stream_reasoning),
        logprobs_(request.logprobs),
        head_{answer_id("chatcmpl-", Job::reply().request_id()), unix_seconds(), model.name()},
        choices_(std::move(choices)) {
    for (Choice& c : choices_)
      if (logprobs_) c.whole.logprobs.emplace();
  }

 private:
  void on_piece(size_t answer, Piece piece) override {
    Choice& c = choices_[answer];
    // An end token is no part of the message.
    if (logprobs_ && !model().ends(piece.ids.empty() ? -1 : piece.ids.front()))
      std::ranges::move(piece.logprobs, std::back_inserter(*c.whole.logprobs));
    total_.completion_tokens += static_cast<int64_t>(piece.ids.size());
    ChatDelta delta = c.add(piece.text, false);
    if (streaming_.stream) stream(c, std::move(delta));
  }

  void stream(Choice& c, ChatDelta delta) {
    begin(c);
    if (!stream_reasoning_) {
      c.held_reasoning += delta.reasoning_content;
      delta.reasoning_content.clear();
      if (!delta.content.empty() || !delta.tool_calls.empty() || delta.finish)
        delta.reasoning_content = std::exchange(c.held_reasoning, {});
    }
    if (logprobs_ && !c.whole.logprobs->empty()) delta.logprobs = std::exchange(*c.whole.logprobs, {});
    if (delta.content.empty() && delta.reasoning_content.empty() && delta.tool_calls.empty() && !delta.logprobs &&
        !delta.finish)
      return;
    chunk(delta);
  }

  void begin(Choice& c) {
    if (c.begun) return;
    c.begun = true;
    ChatDelta first;
    first.index = c.whole.index;
    first.first = true;
    chunk(first);
  }

  void chunk(const ChatDelta& delta) {
    send(sse(chat_chunk(head_, delta, streaming_.continuous_usage ? &total_ : nullptr, streaming_.include_usage)));
  }

  void on_finished(size_t answer, const Finish& finish, const Usage& usage) override {
    Choice& c = choices_[answer];
    total_.prompt_tokens = usage.prompt_tokens;  // the answers share one prompt
    total_.cached_tokens = std::max(total_.cached_tokens.value_or(0), usage.cached_tokens.value_or(0));
    ChatDelta last = c.add("", true);
    c.whole.finish = finish;
    if (!c.whole.tool_calls.empty() && finish.why == Finish::Why::kStop) c.whole.finish.why = Finish::Why::kToolCalls;
    if (c.whole.tool_calls.empty() && !c.whole.content) c.whole.content = "";
    last.finish = c.whole.finish;
    if (streaming_.stream) stream(c, std::move(last));
  }

  void on_complete() override {
    if (streaming_.stream) {
      std::string last = streaming_.include_usage ? sse(usage_chunk(head_, kChatChunk, total_)) : "";
      return end(last.append(kSseDone));
    }
    std::vector<ChatChoice> whole;
    for (Choice& c : choices_) whole.push_back(std::move(c.whole));
    reply().json(200, chat_json(head_, whole, total_));
  }

  const StreamOptions streaming_;
  const bool stream_reasoning_, logprobs_;
  const AnswerHead head_;
  std::vector<Choice> choices_;
  Usage total_;
};

bool is_free(const ChatRequest& request) {
  return request.sampling.grammar.kind == Grammar::Kind::kNone && !forces_call(request);
}

// Whether the model thinks before it answers, and whether the prompt begins that. An answer that a grammar constrains
// has thoughts only where a token tells their end, and then all that comes before it is thoughts.
Parsed<text::ReasoningConfig> thoughts_of(const ChatRequest& request, const LanguageModel& model,
                                          const std::string& prompt) {
  if (model.reasoning_parser().empty() || (!is_free(request) && !model.thoughts_end()))
    return text::ReasoningConfig{.thinking = false};
  if (request.continue_final_message) return text::continued_reasoning(request.messages.back().content.value_or(""));
  const Json* enabled = request.template_kwargs.find("enable_thinking");
  const bool think = !enabled || !enabled->as_bool() || *enabled->as_bool();
  auto config = text::reasoning_config(model.reasoning_parser(), prompt, think);
  if (!config) return tl::unexpected<ApiError>(api_error(config.error()));
  config->opened |= !is_free(request);
  return *config;
}

Parsed<Choice> choice_for(const ChatRequest& request, const LanguageModel& model, text::ReasoningConfig thoughts,
                          int64_t index) {
  Choice c;
  c.whole.index = index;
  c.forced = forces_call(request);
  // Calls are found only behind the thoughts.
  if (thoughts.thinking && (request.separate_reasoning || c.forced)) c.reasoning.emplace(thoughts);
  if (!model.tool_call_parser().empty() && !request.tools.empty() && is_free(request) &&
      request.tool_choice.kind == ToolChoice::Kind::kAuto) {
    text::ToolCallParser::Config config{{}, new_call_id};
    for (const Tool& tool : request.tools) config.names.push_back(tool.name);
    auto parser = text::ToolCallParser::make(model.tool_call_parser(), std::move(config));
    if (!parser) return tl::unexpected<ApiError>(api_error(parser.error()));
    c.tools = *std::move(parser);
  }
  return c;
}

}  // namespace

void chat(const ChatRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply) {
  std::string text;
  Prompt prompt{{}, request.input_ids, true};
  if (request.input_ids.empty()) {
    auto rendered = model.prompt_of(request);
    if (!rendered) return reply->error(rendered.error());
    text = *std::move(rendered);
    if (!model.tokenizer()) return reply->error(ApiError{400, "the model has no tokenizer", "model", {}});
    const auto encoding = model.tokenizer()->encode(text, {.add_special = false});
    if (!encoding) return reply->error(encoding.error());
    prompt.ids = encoding->ids;
  } else if (model.tokenizer()) {
    const std::span<const int64_t> end(request.input_ids);
    text = model.tokenizer()->decode(end.last(std::min(end.size(), kPromptEnd))).value_or("");
  }
  auto ids = model.ids_of(prompt, "input_ids");
  if (!ids) return reply->error(ids.error());
  Sampling sampling = request.sampling;
  if (forces_call(request)) sampling.grammar = {Grammar::Kind::kJsonSchema, call_schema(request)};
  const std::string rid = request.origin.rid.empty() ? reply->request_id() : request.origin.rid;
  auto asks = asks_for(model, *std::move(ids), sampling, request.origin, rid);
  if (!asks) return reply->error(asks.error());
  const auto thoughts = thoughts_of(request, model, text);
  if (!thoughts) return reply->error(thoughts.error());
  std::vector<Choice> choices;
  for (size_t i = 0; i < asks->size(); ++i) {
    auto choice = choice_for(request, model, *thoughts, static_cast<int64_t>(i));
    if (!choice) return reply->error(choice.error());
    Job::Ask& ask = (*asks)[i];
    ask.config.logprobs = ask.generate.logprobs = request.logprobs;
    ask.generate.top_logprobs = request.top_logprobs;
    if (thoughts->thinking) ask.generate.grammar_after = model.thoughts_end();
    // Tags of tool calls and of thoughts are special tokens in some vocabularies.
    if (choice->tools || (choice->reasoning && model.thoughts_end_is_special())) ask.config.skip_special_tokens = false;
    choices.push_back(*std::move(choice));
  }
  std::make_shared<Chat>(request, model, desk, std::move(reply), std::move(choices))->start(*std::move(asks));
}

}  // namespace cairn::serve
