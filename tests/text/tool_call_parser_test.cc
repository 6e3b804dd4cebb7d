#include "text/tool_call_parser.h"

#include <gmock/gmock.h>

#include <random>

#include "text/helpers.h"

namespace cairn::text {
namespace {

struct Call {
  std::string id, name, arguments;
  bool operator==(const Call&) const = default;
};
void PrintTo(const Call& c, std::ostream* out) { *out << c.id << " " << c.name << " " << c.arguments; }
struct Answer {
  std::string content;
  std::vector<Call> calls;
  bool operator==(const Answer&) const = default;
};
void PrintTo(const Answer& a, std::ostream* out) {
  *out << "\"" << a.content << "\" " << testing::PrintToString(a.calls);
}

Answer run(const std::string& format, const std::vector<std::string>& pieces, std::vector<std::string> names = {}) {
  int next = 0;
  auto parser = value(ToolCallParser::make(format, {std::move(names), [&] { return "id" + std::to_string(next++); }}));
  Answer out;
  const auto add = [&](const ToolCallParser::Piece& p) {
    out.content += p.content;
    for (const ToolCallDelta& d : p.calls) {
      if (d.index == out.calls.size()) {
        EXPECT_FALSE(d.id.empty() || d.name.empty()) << "a call begins with its id and name";
        EXPECT_EQ(d.arguments, "");
        out.calls.push_back({d.id, d.name, ""});
      } else {
        EXPECT_EQ(d.index + 1, out.calls.size());
        EXPECT_EQ(d.id + d.name, "");
        out.calls.back().arguments += d.arguments;
      }
    }
  };
  for (const auto& p : pieces) add(parser->push(p));
  add(parser->finish());
  EXPECT_EQ(parser->calls(), out.calls.size());
  return out;
}

struct ToolCase {
  const char* format;
  std::string text;
  Answer expected;
};

const std::vector<ToolCase>& cases() {
  static const std::vector<ToolCase> all = {
      {"qwen",
       "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
       {"Let me see.", {{"id0", "f", "{\"a\": 1}"}}}},
      {"qwen",
       "<tool_call>\n{\"name\":\"f\",\"arguments\":{}}\n</"
       "tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{\"s\":\"</tool_call>}\"}}</tool_call>\n",
       {"", {{"id0", "f", "{}"}, {"id1", "g", "{\"s\":\"</tool_call>}\"}"}}}},
      {"hermes", "<tool_call>{\"name\":\"f\"}</tool_call> and text", {"and text", {{"id0", "f", "{}"}}}},
      {"qwen", "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}", {"", {{"id0", "f", "{\"a\":1}"}}}},
      {"qwen",
       "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":12345678901234567890}\"}</tool_call>",
       {"", {{"id0", "f", "{\"a\":12345678901234567890}"}}}},
      {"qwen",
       "a <tool_call>{\"name\":\"f\",\"arguments\":{bad}}</tool_call> b",
       {"a <tool_call>{\"name\":\"f\",\"arguments\":{bad}}</tool_call> b", {}}},
      {"qwen", "a  <tool_call>{\"name\":\"f\",\"argum", {"a  <tool_call>{\"name\":\"f\",\"argum", {}}},
      {"qwen", "x <tool_call>nothing</tool_call>", {"x <tool_call>nothing</tool_call>", {}}},
      {"qwen",
       "<tool_call>{\"name\":1}</tool_call>\n<tool_call>{\"name\":\"f\"}</tool_call>",
       {"<tool_call>{\"name\":1}</tool_call>", {{"id0", "f", "{}"}}}},
      {"qwen", "no call at all <tool", {"no call at all <tool", {}}},
      {"llama3", "{\"name\": \"f\", \"parameters\": {\"x\": [1, 2]}}", {"", {{"id0", "f", "{\"x\": [1, 2]}"}}}},
      {"llama3",
       "<|python_tag|>{\"name\":\"f\",\"parameters\":{}}; {\"name\":\"g\",\"arguments\":{\"y\":null}}",
       {"", {{"id0", "f", "{}"}, {"id1", "g", "{\"y\":null}"}}}},
      {"llama3", "Sure. <|python_tag|>{\"name\":\"f\",\"parameters\":{}}", {"Sure.", {{"id0", "f", "{}"}}}},
      {"llama3",
       "{\"answer\": 42} and {\"name\":\"f\",\"parameters\":{}}",
       {"{\"answer\": 42} and {\"name\":\"f\",\"parameters\":{}}", {}}},
      {"llama3", "<|python_tag|>print(1)", {"<|python_tag|>print(1)", {}}},
      {"llama3", " plain <|pyth", {" plain <|pyth", {}}},
      {"mistral",
       "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": \"]\"}}, {\"name\": \"g\", \"arguments\": {}}]",
       {"", {{"id0", "f", "{\"a\": \"]\"}"}, {"id1", "g", "{}"}}}},
      {"mistral",
       "ok [TOOL_CALLS]f[ARGS]{\"a\":1}[TOOL_CALLS]g[ARGS]{}",
       {"ok", {{"id0", "f", "{\"a\":1}"}, {"id1", "g", "{}"}}}},
      {"mistral",
       "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}, {\"nam\":1}] x",
       {"[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}, {\"nam\":1}] x", {}}},
      {"mistral", "[TOOL_CALLS] []", {"[TOOL_CALLS] []", {}}},
      {"deepseekv3",
       "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": "
       "1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><"
       "｜tool▁calls▁end｜>",
       {"Hm.", {{"id0", "f", "{\"a\": 1}"}, {"id1", "g", "{}"}}}},
      {"deepseekv31",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\":1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
       "after",
       {"after", {{"id0", "f", "{\"a\":1}"}}}},
      {"deepseek", "<｜tool▁calls▁begin｜>nothing", {"<｜tool▁calls▁begin｜>nothing", {}}},
      {"deepseek",
       "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\":}<｜tool▁call▁end｜>",
       {"<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\":}<｜tool▁call▁end｜>", {}}},
      {"deepseek",
       "<｜tool▁call▁begin｜>" + std::string(9000, 'x'),
       {"<｜tool▁call▁begin｜>" + std::string(9000, 'x'), {}}},
  };
  return all;
}

TEST(ToolCallParser, FindsCallsAndGivesTheRestAsContent) {
  for (const ToolCase& c : cases()) EXPECT_EQ(run(c.format, {c.text}), c.expected) << c.text.substr(0, 200);
}

TEST(ToolCallParser, DoesNotDependOnHowTheTextIsCut) {
  std::mt19937 rng(3);
  for (const ToolCase& c : cases())
    for (int round = 0; round < 60; ++round) {
      std::vector<std::string> pieces;
      const size_t most = round == 0 ? 1 : 1 + rng() % 12;
      for (size_t at = 0; at < c.text.size();) {
        pieces.push_back(c.text.substr(at, 1 + rng() % most));
        at += pieces.back().size();
      }
      ASSERT_EQ(run(c.format, pieces), c.expected) << c.text.substr(0, 200);
    }
  // Texts of scraps, whatever they may mean.
  const char* const scraps[] = {"<tool_call>",
                                "</tool_call>",
                                "{\"name\":\"f\",\"arguments\":{}}",
                                "{\"name\":\"f\"",
                                "}",
                                " ",
                                "\n",
                                ";",
                                "[TOOL_CALLS]",
                                "[",
                                "]",
                                ",",
                                "[ARGS]",
                                "<|python_tag|>",
                                "<｜tool▁calls▁begin｜>",
                                "<｜tool▁call▁begin｜>",
                                "f<｜tool▁sep｜>",
                                "{}",
                                "```json",
                                "```",
                                "<｜tool▁call▁end｜>",
                                "<｜tool▁calls▁end｜>",
                                "text",
                                "\"",
                                "<"};
  for (int round = 0; round < 6000; ++round) {
    const char* const formats[] = {"qwen", "llama3", "mistral", "deepseek"};
    const std::string format = formats[round % 4];
    std::string text;
    for (size_t n = rng() % 10; n > 0; --n) text += scraps[rng() % std::size(scraps)];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, 1 + rng() % 6));
      at += pieces.back().size();
    }
    ASSERT_EQ(run(format, pieces), run(format, {text})) << format << ": " << text;
  }
}

TEST(ToolCallParser, CallsOnlyToolsThatThereAre) {
  const std::string text = "<tool_call>{\"name\":\"f\"}</tool_call>";
  EXPECT_EQ(run("qwen", {text}, {"g"}), (Answer{text, {}}));
  EXPECT_EQ(run("qwen", {text}, {"g", "f"}).calls.size(), 1u);
}

TEST(ToolCallParser, GivesIdsOfOpenAisForm) {
  auto parser = value(ToolCallParser::make("qwen", {}));
  const auto piece = parser->push("<tool_call>{\"name\":\"f\"}</tool_call><tool_call>{\"name\":\"f\"}</tool_call>");
  ASSERT_EQ(piece.calls.size(), 4u);
  EXPECT_THAT(piece.calls[0].id, testing::MatchesRegex("call_[0-9a-f]{24}"));
  EXPECT_NE(piece.calls[0].id, piece.calls[2].id);
  EXPECT_THAT(ToolCallParser::make("quen", {}).error().what, testing::HasSubstr("did you mean qwen"));
}

}  // namespace
}  // namespace cairn::text
