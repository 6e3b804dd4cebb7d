#include "text/reasoning_parser.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "text/stop.h"

namespace cairn::text {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = kThoughtsEnd, kBlanks = " \t\r\n";

size_t blanks_at_start(std::string_view s) { return std::min(s.find_first_not_of(kBlanks), s.size()); }
size_t without_blanks(std::string_view s) {
  const size_t last = s.find_last_not_of(kBlanks);
  return last == s.npos ? 0 : last + 1;
}

}  // namespace

Result<ReasoningConfig> reasoning_config(std::string_view parser, std::string_view prompt_end, bool enable_thinking) {
  const std::vector<std::string> names{"qwen3", "qwen3-thinking", "deepseek-r1", "deepseek-v3"};
  if (std::ranges::find(names, parser) == names.end())
    return invalid("reasoning parser \"" + std::string(parser) + "\" is not known" + did_you_mean(parser, names) +
                   "; there are " + join(names, ", "));
  const std::string_view end = trim(prompt_end);
  ReasoningConfig c;
  const bool opened = end.ends_with(kOpen), closed = end.ends_with(kClose);
  c.opened = opened || parser == "deepseek-r1" || parser == "qwen3-thinking";
  c.thinking = opened || (!closed && enable_thinking && parser != "deepseek-v3");
  return c;
}

ReasoningConfig continued_reasoning(std::string_view message) {
  const size_t open = message.rfind(kOpen), close = message.rfind(kClose);
  const bool thinking = open != message.npos && (close == message.npos || close < open);
  return {.thinking = thinking, .opened = thinking};
}

ReasoningParser::ReasoningParser(ReasoningConfig config)
    : state_(!config.thinking ? State::kContent
             : config.opened  ? State::kReasoning
                              : State::kStart),
      may_open_(config.thinking) {}

ReasoningParser::Piece ReasoningParser::push(std::string_view text) {
  held_ += text;
  Piece out;
  advance(out, false);
  return out;
}

ReasoningParser::Piece ReasoningParser::finish() {
  Piece out;
  advance(out, true);
  return out;
}

void ReasoningParser::advance(Piece& out, bool last) {
  if (may_open_) {
    const std::string_view rest = std::string_view(held_).substr(blanks_at_start(held_));
    if (rest.size() < kOpen.size() && kOpen.starts_with(rest) && !last) return;
    may_open_ = false;
    if (rest.starts_with(kOpen)) {
      held_.erase(0, held_.size() - rest.size() + kOpen.size());
      state_ = State::kReasoning;
    } else if (state_ == State::kStart) {
      state_ = State::kContent;
    }
  }
  if (state_ == State::kReasoning) {
    if (!begun_) held_.erase(0, blanks_at_start(held_));
    const size_t close = held_.find(kClose);
    const bool closed = close != std::string::npos;
    // Blanks before a tag that may come belong to neither side.
    const size_t text = closed ? close : held_.size() - begun_at_end(held_, kClose);
    const size_t end = last && !closed ? held_.size() : without_blanks(std::string_view(held_).substr(0, text));
    begun_ |= end > 0;
    out.reasoning = held_.substr(0, end);
    held_.erase(0, closed ? close + kClose.size() : end);
    if (closed) state_ = State::kAfter;
  }
  if (state_ == State::kAfter) {
    held_.erase(0, blanks_at_start(held_));
    if (!held_.empty()) state_ = State::kContent;
  }
  if (state_ == State::kContent) out.content = std::exchange(held_, {});
}

}  // namespace cairn::text
