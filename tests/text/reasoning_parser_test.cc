#include "text/reasoning_parser.h"

#include <random>

#include "text/helpers.h"

namespace cairn::text {
namespace {

using Split = std::pair<std::string, std::string>;  // reasoning, content

Split run(ReasoningConfig config, const std::vector<std::string>& pieces) {
  ReasoningParser parser(config);
  Split out;
  const auto add = [&](const ReasoningParser::Piece& p) { out.first += p.reasoning, out.second += p.content; };
  for (const auto& p : pieces) add(parser.push(p));
  add(parser.finish());
  return out;
}

TEST(ReasoningParser, SplitsThoughtsFromTheAnswer) {
  const ReasoningConfig closed{}, opened{.opened = true}, off{.thinking = false};
  EXPECT_EQ(run(closed, {"<think>\nhm\n</think>\n\nYes."}), Split("hm", "Yes."));
  EXPECT_EQ(run(closed, {"\n<think>\na b\n\nc</think>Yes. <think>x</think>"}),
            Split("a b\n\nc", "Yes. <think>x</think>"));
  EXPECT_EQ(run(closed, {"Yes. </think>"}), Split("", "Yes. </think>"));
  EXPECT_EQ(run(closed, {"<thin ice"}), Split("", "<thin ice"));
  EXPECT_EQ(run(closed, {"<think>cut off "}), Split("cut off ", ""));
  EXPECT_EQ(run(closed, {"<think>\n\n</think>\n\nNo"}), Split("", "No"));
  EXPECT_EQ(run(opened, {"hm\n</think>\nYes."}), Split("hm", "Yes."));
  EXPECT_EQ(run(opened, {"<think>\nhm</think>Yes."}), Split("hm", "Yes."));
  EXPECT_EQ(run(opened, {"never closed"}), Split("never closed", ""));
  EXPECT_EQ(run(off, {"<think>Yes"}), Split("", "<think>Yes"));
  EXPECT_EQ(run(closed, {""}), Split("", ""));
}

TEST(ReasoningParser, DoesNotDependOnHowTheTextIsCut) {
  std::mt19937 rng(1);
  const char* const parts[] = {"<think>", "</think>", "<", "</", " ", "\n", "word", "think>", "\xc3\xa9"};
  for (int round = 0; round < 4000; ++round) {
    std::string text = rng() % 2 ? "<think>" : "";
    for (size_t n = rng() % 9; n > 0; --n) text += parts[rng() % 9];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, 1 + rng() % 5));
      at += pieces.back().size();
    }
    for (const ReasoningConfig config : {ReasoningConfig{}, {.opened = true}, {.thinking = false}})
      EXPECT_EQ(run(config, pieces), run(config, {text})) << text;
  }
}

TEST(ReasoningParser, GivesThoughtsWhileTheyAreWritten) {
  ReasoningParser parser({});
  EXPECT_EQ(parser.push("<think>\nfirst ").reasoning, "first");
  EXPECT_EQ(parser.push("second").reasoning, " second");
  EXPECT_EQ(parser.push(" </th").reasoning, "");
  EXPECT_EQ(parser.push("e").reasoning, " </the");
  EXPECT_EQ(parser.push("</think>\n").content, "");
  EXPECT_EQ(parser.push("A").content, "A");
}

TEST(ReasoningParser, TakesItsConfigurationFromThePrompt) {
  const auto config = [](const char* name, const char* prompt, bool enabled) {
    const auto c = value(reasoning_config(name, prompt, enabled));
    return std::pair(c.thinking, c.opened);
  };
  EXPECT_EQ(config("qwen3", "<|im_start|>assistant\n", true), std::pair(true, false));
  EXPECT_EQ(config("qwen3", "<|im_start|>assistant\n<think>\n", true), std::pair(true, true));
  EXPECT_FALSE(config("qwen3", "assistant\n<think>\n\n</think>\n\n", false).first);
  EXPECT_FALSE(config("qwen3", "assistant\n", false).first);
  EXPECT_EQ(config("deepseek-r1",
                   "<\xef\xbd\x9c"
                   "Assistant\xef\xbd\x9c>",
                   true),
            std::pair(true, true));
  EXPECT_FALSE(config("deepseek-v3", "Assistant>", true).first);
  EXPECT_FALSE(config("deepseek-v3", "Assistant></think>", true).first);
  EXPECT_EQ(config("deepseek-v3", "Assistant><think>", true), std::pair(true, true));
  EXPECT_NE(reasoning_config("qwen", "", true).error().what.find("did you mean qwen3"), std::string::npos);
}

TEST(ReasoningParser, GoesOnWhereAMessageStands) {
  const auto opened = [](const char* message) {
    const auto c = continued_reasoning(message);
    EXPECT_EQ(c.thinking, c.opened) << message;
    return c.opened;
  };
  EXPECT_FALSE(opened("") || opened("Yes") || opened("<think>\nhm\n</think>\nYes") || opened("hm</think>"));
  EXPECT_TRUE(opened("<think>") && opened("<think>\nhm") && opened("<think>a</think>b<think>c"));
}

}  // namespace
}  // namespace cairn::text
