#include "serve/language_model.h"

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/strings.h"

namespace cairn::serve {
namespace {

constexpr size_t kKeptGrammars = 64;
constexpr size_t kMostPromptBytes = size_t{32} << 20;

// What is wrong with an input, as the answer to its sender: a model's fault stays the model's.
ApiError about(const Error& e, const std::string& param) {
  ApiError out = api_error(e);
  out.param = param;
  return out;
}

tl::unexpected<ApiError> refuse(const Error& e, const std::string& param) {
  return tl::unexpected<ApiError>(about(e, param));
}

text::grammar::Kind kind_of(Grammar::Kind kind) {
  switch (kind) {
    case Grammar::Kind::kJsonSchema:
      return text::grammar::Kind::kJsonSchema;
    case Grammar::Kind::kRegex:
      return text::grammar::Kind::kRegex;
    case Grammar::Kind::kEbnf:
      return text::grammar::Kind::kEbnf;
    default:
      return text::grammar::Kind::kJsonObject;
  }
}

}  // namespace

Result<std::unique_ptr<LanguageModel>> LanguageModel::start(std::shared_ptr<const llm::CausalLm> model,
                                                            LanguageModelOptions options, llm::Engine::Options engine,
                                                            Registry& registry) {
  std::unique_ptr<LanguageModel> m(new LanguageModel());
  m->options_ = std::move(options);
  m->created_ = unix_seconds();
  if (!m->options_.folder.empty()) TRY_VOID(m->load_texts());
  TRY_VOID(m->choose_parsers());
  engine.ends = m->defaults_.ends;
  engine.model_name = m->options_.name;
  m->engine_ = TRY(llm::Engine::start(std::move(model), std::move(engine)));
  m->metrics_ = std::make_unique<LanguageMetrics>(registry, m->options_.name, *m->engine_);
  return m;
}

Result<void> LanguageModel::load_texts() {
  const std::string& folder = options_.folder;
  tokenizer_ = TRY(text::Tokenizer::load(folder));
  templates_ = TRY(text::ModelTemplates::load(folder));
  defaults_ = TRY(models::load_generation_config(folder));
  if (!options_.chat_template.empty())
    own_template_ = TRY(text::ChatTemplate::parse(TRY(read_file(options_.chat_template)), options_.chat_template));
  return {};
}

Result<void> LanguageModel::choose_parsers() {
  const auto mention = [&](std::string_view text) { return templates_ && templates_->mention(text); };
  reasoning_parser_ = options_.reasoning_parser;
  if (reasoning_parser_ == "auto")
    reasoning_parser_ = !mention("<think>") && !mention("</think>") ? "none"
                        : mention("enable_thinking")                ? "qwen3"
                                                                    : "deepseek-r1";
  tool_call_parser_ = options_.tool_call_parser;
  if (tool_call_parser_ == "auto")
    tool_call_parser_ = mention("<tool_call>")        ? "qwen"
                        : mention("[TOOL_CALLS]")     ? "mistral"
                        : mention("tool▁call")        ? "deepseekv3"
                        : mention("python_tag")       ? "llama3"
                        : mention("\"parameters\": ") ? "llama3"
                                                      : "none";
  if (reasoning_parser_ == "none") reasoning_parser_.clear();
  if (tool_call_parser_ == "none") tool_call_parser_.clear();
  if (!reasoning_parser_.empty()) {
    TRY(text::reasoning_config(reasoning_parser_, "", true));
    if (tokenizer_)
      if (const auto end = TRY(tokenizer_->encode(text::kThoughtsEnd, {.add_special = false})).ids; end.size() == 1)
        thoughts_end_ = static_cast<int32_t>(end.front());
  }
  if (!tool_call_parser_.empty()) TRY(text::ToolCallParser::make(tool_call_parser_, {}));
  return {};
}

bool LanguageModel::thoughts_end_is_special() const {
  return thoughts_end_ && tokenizer_->decode(std::array{int64_t{*thoughts_end_}}, true).value_or("").empty();
}

const text::grammar::TokenSet& LanguageModel::token_set() const {
  std::call_once(tokens_once_, [this] {
    tokens_ = or_throw(text::grammar::TokenSet::of(*tokenizer_));
    grammars_ = std::make_unique<text::grammar::GrammarCache>(tokens_, kKeptGrammars);
  });
  return *tokens_;
}

std::string_view LanguageModel::bytes_of(int64_t token) const {
  if (!tokenizer_) return {};
  const std::string_view bytes = token_set().bytes(token);
  return bytes.empty() ? tokenizer_->token_of(token) : bytes;
}

bool LanguageModel::ends(int64_t token) const {
  return std::ranges::find(defaults_.ends, token) != defaults_.ends.end();
}

Parsed<std::vector<int32_t>> LanguageModel::ids_of(const Prompt& prompt, const std::string& param) const {
  std::vector<int32_t> out;
  if (prompt.tokenized) {
    const int64_t vocabulary = engine_->model().vocabulary();
    for (const int64_t id : prompt.ids) {
      if (id < 0 || id >= vocabulary)
        return refused(param, param + ": token id " + std::to_string(id) + " is outside the model's vocabulary of " +
                                  std::to_string(vocabulary));
      out.push_back(static_cast<int32_t>(id));
    }
    return out;
  }
  if (!tokenizer_) return refused(param, "model " + options_.name + " was started without a tokenizer: send token ids");
  if (prompt.text.size() > kMostPromptBytes)
    return refused(param, param + ": a prompt of " + std::to_string(prompt.text.size()) + " bytes is too long");
  const auto encoding = tokenizer_->encode(prompt.text);
  if (!encoding) return refuse(encoding.error(), param);
  out.assign(encoding->ids.begin(), encoding->ids.end());
  return out;
}

Parsed<llm::Generate> LanguageModel::generate(const Sampling& s, const Origin& origin) const {
  llm::Generate g;
  llm::SamplingParams& p = g.sampling;
  p.temperature = s.temperature.value_or(defaults_.temperature.value_or(1));
  p.top_p = s.top_p.value_or(defaults_.top_p.value_or(1));
  p.top_k = s.top_k.value_or(defaults_.top_k.value_or(-1));
  p.min_p = s.min_p.value_or(defaults_.min_p.value_or(0));
  p.repetition_penalty = s.repetition_penalty.value_or(defaults_.repetition_penalty.value_or(1));
  p.frequency_penalty = s.frequency_penalty;
  p.presence_penalty = s.presence_penalty;
  p.max_new_tokens = s.max_new_tokens.value_or(engine_->context_length());
  p.min_new_tokens = std::min(s.min_new_tokens, p.max_new_tokens);
  p.ignore_eos = s.ignore_eos;
  p.seed = s.seed;
  p.stop_token_ids = s.stop_token_ids;
  p.logit_bias = s.logit_bias;
  if (const auto good = p.check(engine_->model().vocabulary()); !good) return refuse(good.error(), "");
  g.priority = origin.priority;
  g.salt = origin.extra_key;
  return g;
}

Parsed<std::shared_ptr<const text::grammar::CompiledGrammar>> LanguageModel::grammar(const Grammar& grammar,
                                                                                     const std::string& param) const {
  if (grammar.kind == Grammar::Kind::kNone) return nullptr;
  if (!tokenizer_) return refused(param, "model " + options_.name + " was started without a tokenizer: no grammars");
  token_set();
  auto compiled = grammars_->get({kind_of(grammar.kind), grammar.text});
  if (!compiled) return refuse(compiled.error(), param);
  return *std::move(compiled);
}

Parsed<std::string> LanguageModel::prompt_of(const ChatRequest& request) const {
  if (!templates_)
    return refused("messages", "model " + options_.name + " was started without a tokenizer: use /generate");
  text::Conversation c;
  Json::Array messages, tools;
  for (const auto& message : request.messages) messages.push_back(template_message(message));
  if (request.tool_choice.kind != ToolChoice::Kind::kNone)
    for (const auto& tool : request.tools) tools.push_back(tool.as_sent);
  c.messages = std::move(messages);
  const bool with_tools = !tools.empty();
  if (with_tools) c.tools = std::move(tools);
  c.kwargs = request.template_kwargs;
  if (!request.reasoning_effort.empty()) c.kwargs.set("reasoning_effort", request.reasoning_effort);
  c.special_tokens = templates_->special_tokens();
  c.add_generation_prompt = request.add_generation_prompt && !request.continue_final_message;
  c.continue_final_message = request.continue_final_message;
  const auto chosen = own_template_ ? Result<text::ChatTemplate>(*own_template_) : templates_->choose(with_tools);
  if (!chosen) return refuse(chosen.error(), "messages");
  auto text = text::render(*chosen, std::move(c));
  if (!text) return refuse(text.error(), "messages");
  return *std::move(text);
}

}  // namespace cairn::serve
