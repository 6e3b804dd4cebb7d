#include "text/chat_template.h"

#include <fmt/format.h>

#include <array>

#include "base/strings.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr std::string_view kTag = "CONTINUE_FINAL_MESSAGE_TAG ";  // stands where the last message ends

std::tm local_now() {
  const std::time_t t = std::time(nullptr);
  std::tm out{};
  localtime_r(&t, &out);
  return out;
}

// A message as templates see it.
Result<Json> cleaned(const Json& message) {
  const auto* members = message.as_object();
  if (!members) return invalid(fmt::format("a message must be an object, not {}", message.kind()));
  Json out(Json::Object{});
  const Json* reasoning = nullptr;
  for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
    const Json* v = message.find(key);
    if (!reasoning && v && !v->is_null()) reasoning = v;
  }
  if (reasoning) out.set("thinking", *reasoning);
  for (const auto& [key, value] : *members)
    if (!value.is_null()) out.set(key, value);
  if (reasoning) out.set("reasoning_content", *reasoning);
  return out;
}

// Puts the tag behind the text of the message, and returns that text.
Result<std::string> mark_end(Json& message) {
  for (auto& [key, value] : *message.as_object()) {
    if (key != "content") continue;
    if (const auto* text = value.as_string()) {
      const std::string before = *text;
      value = before + std::string(kTag);
      return before;
    }
    auto* parts = value.as_array();
    for (size_t i = parts ? parts->size() : 0; i-- > 0;) {
      const Json* text = (*parts)[i].find("text");
      if (!text || !text->as_string()) continue;
      const std::string before = *text->as_string();
      (*parts)[i].set("text", before + std::string(kTag));
      return before;
    }
  }
  return invalid("continue_final_message: the last message has no text that could be continued");
}

Result<std::string> cut_at_tag(const std::string& rendered, const std::string& last) {
  const std::string_view bare = kTag.substr(0, kTag.size() - 1);
  const size_t at = rendered.rfind(bare);
  const std::string trimmed(jinja::strip(last, jinja::Side::kBoth));
  if (at == std::string::npos || rendered.find(trimmed) == std::string::npos)
    return invalid("continue_final_message: the template does not write the last message as it is");
  const std::string_view before = std::string_view(rendered).substr(0, at);
  if (std::string_view(rendered).substr(at).starts_with(kTag)) return std::string(before);
  return std::string(jinja::strip(before, jinja::Side::kRight));
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string name) {
  if (const size_t bad = invalid_utf8_at(source); bad != std::string_view::npos)
    return invalid(fmt::format("chat template {}: byte {} is not valid UTF-8", name, bad));
  return caught([&] {
    auto program = std::make_shared<const jinja::Program>(jinja::parse(source, name));
    return ChatTemplate(std::move(program), name);
  });
}

Result<std::string> ChatTemplate::render(const Json& context, const RenderLimits& limits,
                                         std::optional<std::tm> now) const {
  if (!context.as_object()) return invalid(fmt::format("the variables must be an object, not {}", context.kind()));
  return caught([&] {
    jinja::Run run(name_, limits, now ? *now : local_now());
    return jinja::Interpreter(run, *program_).render(context);
  });
}

Result<std::string> render(const ChatTemplate& chat_template, Conversation c, const RenderLimits& limits) {
  const auto* messages = c.messages.as_array();
  if (!messages) return invalid(fmt::format("messages must be a list, not {}", c.messages.kind()));
  if (messages->empty()) return invalid("messages is empty: give one message at least");
  if (c.add_generation_prompt && c.continue_final_message)
    return invalid("add_generation_prompt and continue_final_message exclude each other");
  Json::Array cleaned_messages;
  for (size_t i = 0; i < messages->size(); ++i) {
    auto message = cleaned((*messages)[i]);
    if (!message) return tl::unexpected(within(fmt::format("messages[{}]", i), std::move(message).error()));
    cleaned_messages.push_back(*std::move(message));
  }
  if (!c.tools.is_null()) {
    if (!c.tools.as_array()) return invalid(fmt::format("tools must be a list, not {}", c.tools.kind()));
    for (const Json& tool : *c.tools.as_array())
      if (!tool.as_object()) return invalid(fmt::format("a tool must be an object, not {}", tool.kind()));
  }
  std::string last;
  if (c.continue_final_message) last = TRY(mark_end(cleaned_messages.back()));

  Json context;
  context.set("messages", std::move(cleaned_messages));
  context.set("tools", std::move(c.tools));
  context.set("documents", nullptr);
  context.set("add_generation_prompt", c.add_generation_prompt);
  for (Json* more : {&c.special_tokens, &c.kwargs}) {
    if (more->is_null()) continue;
    if (!more->as_object())
      return invalid(fmt::format("the variables of a chat template must be an object, not {}", more->kind()));
    for (auto& [key, value] : *more->as_object()) {
      if (key == "messages" || key == "tools")
        return invalid(fmt::format("'{}' is no variable to set; it belongs beside the variables", key));
      context.set(key, std::move(value));
    }
  }
  std::string text = TRY(chat_template.render(context, limits, c.now));
  return c.continue_final_message ? cut_at_tag(text, last) : Result<std::string>(std::move(text));
}

Result<std::tm> parse_time(std::string_view iso) {
  const auto wrong = [&] { return invalid(fmt::format("'{}' is no time like 2026-03-05T14:07:09", iso)); };
  // Each number has its length, its bounds and what stands before it.
  struct Part {
    char before;
    size_t size;
    int least, most;
  };
  static constexpr std::array<Part, 6> kParts = {
      {{'\0', 4, 1, 9999}, {'-', 2, 1, 12}, {'-', 2, 1, 31}, {'T', 2, 0, 23}, {':', 2, 0, 59}, {':', 2, 0, 59}}};
  std::array<int, 6> v{};
  std::string_view rest = iso;
  for (size_t i = 0; i < kParts.size() && (i < 3 || !rest.empty()); ++i) {
    const Part& p = kParts[i];
    if (p.before) {
      if (rest.empty() || (rest[0] != p.before && !(p.before == 'T' && rest[0] == ' '))) return wrong();
      rest.remove_prefix(1);
    }
    if (rest.size() < p.size) return wrong();
    for (const char c : rest.substr(0, p.size)) {
      if (c < '0' || c > '9') return wrong();
      v[i] = v[i] * 10 + (c - '0');
    }
    if (v[i] < p.least || v[i] > p.most) return wrong();
    rest.remove_prefix(p.size);
  }
  if (!rest.empty()) return wrong();
  std::tm out{};
  out.tm_year = v[0] - 1900, out.tm_mon = v[1] - 1, out.tm_mday = v[2];
  out.tm_hour = v[3], out.tm_min = v[4], out.tm_sec = v[5];
  timegm(&out);  // finds the day of the week and of the year
  if (out.tm_mday != v[2]) return wrong();
  return out;
}

}  // namespace cairn::text
