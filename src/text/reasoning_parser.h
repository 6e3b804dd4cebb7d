// Splits what a reasoning model writes into its thoughts and its answer.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace cairn::text {

// What ends the thoughts, for all parsers.
inline constexpr std::string_view kThoughtsEnd = "</think>";

struct ReasoningConfig {
  bool thinking = true;  // false: the block was closed before, or none is expected, and everything is content
  bool opened = false;   // the text begins inside the block, because the template wrote <think>, or is taken to
};
// The configuration for a parser by its name ("qwen3", "qwen3-thinking", "deepseek-r1", "deepseek-v3").
// `prompt_end`: the end of the rendered prompt, which shows whether the template opened or closed the block.
// deepseek-v3 thinks only where the template opened it.
Result<ReasoningConfig> reasoning_config(std::string_view parser, std::string_view prompt_end, bool enable_thinking);
// The configuration for going on with an assistant's message that has begun.
ReasoningConfig continued_reasoning(std::string_view message);

// <think>thoughts</think>answer, for one answer. The pieces joined are the same however the text was cut. A block
// without an end is all reasoning; a text that does not begin with <think>, and was not opened, is all content. Blanks
// beside the tags belong to neither.
class ReasoningParser {
 public:
  explicit ReasoningParser(ReasoningConfig config);

  struct Piece {
    std::string reasoning, content;
  };
  Piece push(std::string_view text);
  Piece finish();

 private:
  enum class State { kStart, kReasoning, kAfter, kContent };
  void advance(Piece& out, bool last);
  State state_;
  bool may_open_;  // a <think> may still come first
  bool begun_ = false;
  std::string held_;
};

}  // namespace cairn::text
