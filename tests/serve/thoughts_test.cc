// Answers that a grammar constrains, of a model that thinks first. cairn-tiny-lm has the tokens for it, and templates
// of both kinds; a bias makes it end its thoughts sooner or later.
#include <gmock/gmock.h>

#include "base/file.h"
#include "serve/served.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int kSeeds = 12;
const std::string kClosing = "</think>";

LanguageModelOptions with_template(const std::string& file, const std::string& parser = "qwen3") {
  LanguageModelOptions o;
  o.chat_template = file;
  o.reasoning_parser = parser;
  return o;
}

class Thoughts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::string opening = testing::TempDir() + "opening.jinja";
    ASSERT_TRUE(write_file(opening, "{{ messages[-1].content }}{% if add_generation_prompt %}: <think>\n{% endif %}"));
    // The model opens its thoughts itself, or the template closes them at once.
    own_ = new Served(kF32, {}, with_template(CAIRN_SOURCE_DIR "/tests/golden/lm/templates/thinking.jinja"));
    opened_ = new Served(kF32, {}, with_template(opening, "deepseek-r1"));
  }
  static void TearDownTestSuite() {
    delete own_;
    delete opened_;
  }

  // Seeds differ in when the thoughts end. Without a bias they do not.
  static Json request(int seed, Json::Object more, double bias = 8) {
    Json body(Json::Object{{"messages", Json::Array{Json::Object{{"role", "user"}, {"content", "Calculate 20 + 22"}}}},
                           {"seed", seed},
                           {"max_tokens", 200},
                           {"temperature", 1.5},
                           {"logit_bias", Json::Object{{"4095", bias}, {"4089", -100}, {"4091", -100}}}});
    for (auto& [key, value] : more) body.set(key, value);
    return body;
  }
  static Json::Object sum() {
    return {{"response_format",
             value(Json::parse(R"({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object",
               "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 999}}, "required": ["sum"],
               "additionalProperties": false}}})"))}};
  }
  static Json::Object weather() {
    return {{"tool_choice", "required"},
            {"tools", value(Json::parse(R"([{"type": "function", "function": {"name": "get_weather", "parameters":
               {"type": "object", "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["days"], "additionalProperties": false}}}])"))}};
  }
  // The answer of the first seed whose thoughts end within the limit.
  static Json ended(const Served& served, const Json::Object& more) {
    Json out;
    for (int seed = 1; seed <= kSeeds; ++seed) {
      out = served.post("/v1/chat/completions", request(seed, more));
      if (text_at(out, "choices", 0, "finish_reason") != "length") break;
    }
    return out;
  }
  static void expect_sum(const std::string& content) {
    const auto answer = Json::parse(content);
    ASSERT_TRUE(answer) << content;
    EXPECT_GE(at(*answer, "sum").number(), 0) << content;
  }

  static Served *own_, *opened_;
};
Served *Thoughts::own_ = nullptr, *Thoughts::opened_ = nullptr;

TEST_F(Thoughts, AreFreeAndTheAnswerFits) {
  for (const Served* served : {own_, opened_}) {
    int thoughtful = 0;
    for (int seed = 0; seed < kSeeds; ++seed) {
      const auto answer = served->post("/v1/chat/completions", request(seed, sum()));
      const Json& message = at(answer, "choices", 0, "message");
      const std::string thoughts = message.text("reasoning_content");
      EXPECT_THAT(thoughts, Not(HasSubstr(kClosing)));
      if (text_at(answer, "choices", 0, "finish_reason") != "stop") continue;  // thought for too long
      expect_sum(text_at(message, "content"));
      if (!thoughts.empty() && thoughts.front() != '{') ++thoughtful;
    }
    EXPECT_GE(thoughtful, kSeeds / 4);
  }
}

TEST_F(Thoughts, AreStreamedApartFromTheAnswer) {
  for (int seed = 0; seed < 4; ++seed) {
    const Json body = request(seed, sum());
    const auto whole = own_->post("/v1/chat/completions", body);
    Json streaming = body;
    streaming.set("stream", true);
    std::string thoughts, content;
    for (const Json& e : own_->stream("/v1/chat/completions", streaming)) {
      const Json& delta = at(e, "choices", 0, "delta");
      if (!delta.text("reasoning_content").empty()) { EXPECT_EQ(content, "") << "thoughts come first"; }
      thoughts += delta.text("reasoning_content");
      content += delta.text("content");
    }
    if (text_at(whole, "choices", 0, "finish_reason") == "stop") expect_sum(content);
    EXPECT_EQ(content, text_at(whole, "choices", 0, "message", "content"));
    EXPECT_EQ(thoughts, at(whole, "choices", 0, "message").text("reasoning_content"));
  }
}

TEST_F(Thoughts, ComeBeforeForcedCalls) {
  for (const bool separate : {true, false}) {
    auto more = weather();
    more.emplace_back("separate_reasoning", separate);
    const auto answer = ended(*opened_, more);
    EXPECT_EQ(text_at(answer, "choices", 0, "finish_reason"), "tool_calls") << answer.dump();
    EXPECT_EQ(text_at(answer, "choices", 0, "message", "tool_calls", 0, "function", "name"), "get_weather");
  }
}

TEST_F(Thoughts, StayInTheContentWhereThatIsAskedFor) {
  auto more = sum();
  more.emplace_back("separate_reasoning", false);
  const auto answer = ended(*opened_, more);
  const std::string content = text_at(answer, "choices", 0, "message", "content");
  ASSERT_THAT(content, HasSubstr(kClosing));
  expect_sum(content.substr(content.find(kClosing) + kClosing.size()));
}

TEST_F(Thoughts, ThatAreOffLeaveTheGrammarFromTheFirstToken) {
  auto off = sum();
  off.emplace_back("chat_template_kwargs", Json::Object{{"enable_thinking", false}});
  for (int seed = 0; seed < 4; ++seed) {
    const auto answer = own_->post("/v1/chat/completions", request(seed, off));
    const Json& message = at(answer, "choices", 0, "message");
    expect_sum(text_at(message, "content"));
    EXPECT_EQ(message.text("reasoning_content"), "");
  }
  const std::string closed = "Calculate 20 + 22<think>\n\n</think>\n\n";
  auto ids = sum();
  ids.emplace_back("input_ids", at(own_->post("/tokenize", Json::Object{{"prompt", closed}}), "tokens"));
  expect_sum(text_at(own_->post("/v1/chat/completions", request(1, ids)), "choices", 0, "message", "content"));
}

TEST_F(Thoughts, AreOverInAMessageThatHasBegunItsAnswer) {
  for (const auto& [begun, thinks] : {std::pair("The sum is ", false), std::pair("<think>\nlet me", true)}) {
    auto more = sum();
    more.emplace_back("messages", Json::Array{Json::Object{{"role", "user"}, {"content", "Calculate 20 + 22"}},
                                              Json::Object{{"role", "assistant"}, {"content", begun}}});
    more.emplace_back("continue_final_message", true);
    more.emplace_back("add_generation_prompt", false);
    // Nothing ends thoughts here.
    const auto answer = opened_->post("/v1/chat/completions", request(1, more, -100));
    const Json& message = at(answer, "choices", 0, "message");
    if (!thinks) expect_sum(text_at(message, "content"));
    EXPECT_EQ(!message.text("reasoning_content").empty(), thinks);
  }
}

TEST_F(Thoughts, WithoutAnEndLeaveNoAnswer) {
  const auto answer = own_->post("/v1/chat/completions", request(1, sum(), -100));
  EXPECT_EQ(text_at(answer, "choices", 0, "finish_reason"), "length");
  EXPECT_EQ(text_at(answer, "choices", 0, "message", "content"), "");
  EXPECT_NE(at(answer, "choices", 0, "message").text("reasoning_content"), "");
}

TEST_F(Thoughts, OfTheNativeRouteAreAskedForByName) {
  const Json::Object params{
      {"regex", "[0-9]{3}"},   {"n", kSeeds},
      {"sampling_seed", 1},    {"temperature", 1.5},
      {"max_new_tokens", 100}, {"logit_bias", Json::Object{{"4095", 8}, {"4089", -100}, {"4091", -100}}}};
  const Json::Object plain{{"text", "Calculate 20 + 22"}, {"sampling_params", params}};
  const auto at_once = own_->post("/generate", plain);
  for (const Json& one : *at_once.as_array()) EXPECT_THAT(one.text("text"), testing::MatchesRegex("[0-9][0-9][0-9]"));
  Json asked = plain;
  asked.set("require_reasoning", true);
  int closed = 0;
  const auto behind = own_->post("/generate", asked);
  for (const Json& one : *behind.as_array()) {
    const std::string text = one.text("text");
    const size_t end = text.find(kClosing);
    if (end == text.npos) continue;
    EXPECT_THAT(text.substr(end + kClosing.size()), testing::MatchesRegex("[0-9][0-9][0-9]"));
    closed += end > 0;
  }
  EXPECT_GE(closed, kSeeds / 4);
  const Served other(kF32);
  EXPECT_EQ(text_at(other.post("/generate", asked, 400), "error", "param"), "require_reasoning");
}

}  // namespace
}  // namespace cairn::serve
