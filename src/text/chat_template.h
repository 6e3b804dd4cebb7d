// Chat templates: a conversation becomes the text that a model was trained on. The language is Jinja2's, with the
// settings that transformers renders with (trim_blocks, lstrip_blocks, loop controls, a sandbox without mutation).
#pragma once
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/jinja/limits.h"

namespace cairn::text {

namespace jinja {
struct Program;
}

// A parsed template; immutable, cheap to copy, and usable from several threads at once.
class ChatTemplate {
 public:
  // Errors name the template, line and column; what the subset lacks is an error of Code::kUnsupported.
  static Result<ChatTemplate> parse(std::string_view source, std::string name);

  // The text for these variables. `now` is what strftime_now shows, local time when absent. The message of the
  // template's own raise_exception is the whole text of the error; other errors name line and column.
  Result<std::string> render(const Json& context, const RenderLimits& limits = {},
                             std::optional<std::tm> now = {}) const;
  const std::string& name() const { return name_; }

 private:
  ChatTemplate(std::shared_ptr<const jinja::Program> program, std::string name)
      : program_(std::move(program)), name_(std::move(name)) {}
  std::shared_ptr<const jinja::Program> program_;
  std::string name_;
};

// What transformers' apply_chat_template takes.
struct Conversation {
  Json messages;        // a list of objects, one at least
  Json tools;           // a list of objects, or null
  Json kwargs;          // more variables of the template, or null; they go before special tokens of the same name
  Json special_tokens;  // {"bos_token": "<s>", ...} or null
  bool add_generation_prompt = false;
  bool continue_final_message = false;  // the text stops at the end of the last message's content
  std::optional<std::tm> now;
};

// Renders it as transformers does: keys of messages whose value is null are left out, and reasoning goes by the names
// `reasoning_content` and `thinking`.
Result<std::string> render(const ChatTemplate& chat_template, Conversation conversation,
                           const RenderLimits& limits = {});

// "2026-03-05T14:07:09", or only its date.
Result<std::tm> parse_time(std::string_view iso);

// The templates of a model's folder, and the special tokens that they may use.
class ModelTemplates {
 public:
  // Reads chat_template.jinja (and additional_chat_templates/), else chat_template.json, else the chat_template of
  // tokenizer_config.json: a text, or a list of named ones. A folder without any is no error.
  static Result<ModelTemplates> load(const std::string& folder);

  // The template of that name; without a name "tool_use" for a conversation with tools, where there is one, else
  // "default".
  Result<ChatTemplate> choose(bool with_tools, std::string_view name = {}) const;
  const Json& special_tokens() const { return special_tokens_; }
  std::vector<std::string> names() const;
  // Whether any template's source has that text: what a model's answers look like can be told from it.
  bool mention(std::string_view text) const { return sources_.find(text) != std::string::npos; }

 private:
  void add(const std::string& name, std::string_view source, const std::string& where);
  Result<void> add_all(const Json& value, const std::string& where);

  std::string folder_;
  std::vector<std::pair<std::string, Result<ChatTemplate>>>
      templates_;  // one that is broken harms only who asks for it
  Json special_tokens_ = Json::Object{};
  std::string sources_;  // of all templates, joined
};

}  // namespace cairn::text
