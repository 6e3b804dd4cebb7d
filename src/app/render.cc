// cairn render: a conversation as the text that a model is given.
#include <fmt/core.h>

#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/flags.h"
#include "app/options.h"
#include "base/file.h"
#include "text/chat_template.h"

namespace cairn::app {
namespace {

struct RenderOptions {
  std::string now;
  void fields(auto& f) { f("now", now, "the time that templates see, as 2026-03-05T14:07:09"); }
};

constexpr size_t kMostBytes = size_t{64} << 20;

Result<std::string> standard_input() {
  std::string out;
  char buffer[1 << 16];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) {
    out.append(buffer, n);
    if (out.size() > kMostBytes) return invalid("the conversation is longer than 64 MiB");
  }
  return out;
}

bool flag(const Json& kwargs, const char* key) {
  const Json* v = kwargs.find(key);
  return v && v->as_bool() && *v->as_bool();
}

}  // namespace

Result<int> render(const Arguments& args) {
  Flags flags("cairn render TEMPLATE_OR_MODEL [FLAGS] < REQUEST.json",
              "Renders a conversation with a chat template. The request's keys are messages, tools, kwargs and "
              "special_tokens.");
  RenderOptions o;
  std::vector<std::string> words;
  flags.add("Time", o);
  flags.positionals("TEMPLATE_OR_MODEL", 1, words);
  if (!TRY(flags.parse(args))) return 0;
  const std::string source = words.empty() ? TRY(embedded_model("cairn-tiny-lm")) : words[0];
  const Json request = TRY(Json::parse(TRY(standard_input())));
  if (!request.as_object()) return invalid(std::string("a request is a JSON object, not ") + request.kind());
  text::Conversation c;
  for (const auto& [key, value] : *request.as_object()) {
    if (key == "messages") c.messages = value;
    if (key == "tools") c.tools = value;
    if (key == "kwargs") c.kwargs = value;
    if (key == "special_tokens") c.special_tokens = value;
  }
  if (!o.now.empty()) c.now = TRY(text::parse_time(o.now));
  c.add_generation_prompt = flag(c.kwargs, "add_generation_prompt");
  c.continue_final_message = flag(c.kwargs, "continue_final_message");
  std::optional<text::ChatTemplate> chosen;
  if (std::filesystem::is_directory(source)) {
    const auto templates = TRY(text::ModelTemplates::load(source));
    chosen = TRY(templates.choose(c.tools.as_array() && !c.tools.as_array()->empty()));
    if (c.special_tokens.is_null()) c.special_tokens = templates.special_tokens();
  } else {
    chosen = TRY(text::ChatTemplate::parse(TRY(read_file(source, kMostBytes)), source));
  }
  fmt::print("{}", TRY(text::render(*chosen, std::move(c))));
  return 0;
}

}  // namespace cairn::app
