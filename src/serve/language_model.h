// A language model with all that stands between a request's text and the engine's tokens.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "llm/engine.h"
#include "models/generation_config.h"
#include "serve/api/chat.h"
#include "serve/api/model_routes.h"
#include "serve/language_metrics.h"
#include "text/chat_template.h"
#include "text/grammar/grammar.h"
#include "text/reasoning_parser.h"
#include "text/tokenizer.h"
#include "text/tool_call_parser.h"

namespace cairn::serve {

struct LanguageModelOptions {
  std::string name;
  std::string folder;         // tokenizer and templates; empty: token ids in, token ids out
  std::string chat_template;  // a file to use instead of the folder's own
  // "auto" tells the format from the chat template, "none" parses nothing.
  std::string reasoning_parser = "auto", tool_call_parser = "auto";
};

// Immutable but for its engine and the grammars in use; any thread.
class LanguageModel {
 public:
  static Result<std::unique_ptr<LanguageModel>> start(std::shared_ptr<const llm::CausalLm> model,
                                                      LanguageModelOptions options, llm::Engine::Options engine,
                                                      Registry& registry);

  const std::string& name() const { return options_.name; }
  const LanguageModelOptions& options() const { return options_; }
  ModelCard card() const {
    return {options_.name, created_, engine_->context_length(), Json::Object{{"kind", "language"}}};
  }
  llm::Engine& engine() const { return *engine_; }
  LanguageMetrics& metrics() const { return *metrics_; }
  // Null where the model has none.
  const text::Tokenizer* tokenizer() const { return tokenizer_ ? &*tokenizer_ : nullptr; }
  // The bytes that a token stands for; for special tokens their names.
  std::string_view bytes_of(int64_t token) const;
  // Whether that token ends answers that were not told otherwise.
  bool ends(int64_t token) const;

  // The tokens of a prompt. `param` is its name in errors.
  Parsed<std::vector<int32_t>> ids_of(const Prompt& prompt, const std::string& param) const;
  // What the engine is asked, without the prompt: the model's own defaults, overruled by what the request says.
  Parsed<llm::Generate> generate(const Sampling& sampling, const Origin& origin) const;
  // The grammar that a request asks for, compiled; null when it asks for none. May take long.
  Parsed<std::shared_ptr<const text::grammar::CompiledGrammar>> grammar(const Grammar& grammar,
                                                                        const std::string& param) const;
  // The prompt of a conversation, as the chat template writes it.
  Parsed<std::string> prompt_of(const ChatRequest& request) const;

  // The names of the parsers in force; empty: none.
  const std::string& reasoning_parser() const { return reasoning_parser_; }
  const std::string& tool_call_parser() const { return tool_call_parser_; }
  // The token behind which an answer follows the thoughts; none where the model has no reasoning parser, or the end of
  // thoughts is not one token.
  std::optional<int32_t> thoughts_end() const { return thoughts_end_; }
  // Whether that token is a special one, which texts lack unless they are told to keep such.
  bool thoughts_end_is_special() const;

 private:
  LanguageModel() = default;
  Result<void> load_texts();
  Result<void> choose_parsers();
  const text::grammar::TokenSet& token_set() const;

  LanguageModelOptions options_;
  int64_t created_ = 0;
  models::GenerationConfig defaults_;
  std::optional<text::Tokenizer> tokenizer_;
  std::optional<text::ModelTemplates> templates_;
  std::optional<text::ChatTemplate> own_template_;  // of options_.chat_template
  std::string reasoning_parser_, tool_call_parser_;
  std::optional<int32_t> thoughts_end_;
  mutable std::once_flag tokens_once_;
  mutable std::shared_ptr<const text::grammar::TokenSet> tokens_;
  mutable std::unique_ptr<text::grammar::GrammarCache> grammars_;
  std::unique_ptr<LanguageMetrics> metrics_;
  std::unique_ptr<llm::Engine> engine_;
};

}  // namespace cairn::serve
