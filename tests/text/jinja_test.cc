// The language of chat templates against what Jinja2 renders, conversations, errors, and the templates of a folder.
#include "text/chat_template.h"

#include <atomic>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>

#include "text/helpers.h"

namespace cairn::text {
namespace {

const std::string kTemplates = kSource + "/tests/golden/lm/templates/";
const std::tm kNow = or_throw(parse_time("2026-03-05T14:07:09"));

ChatTemplate open_template(const std::string& name) {
  return value(ChatTemplate::parse(value(read_file(kTemplates + name + ".jinja")), name));
}
Result<std::string> rendered(std::string_view source, const Json& context = Json::Object{}) {
  const auto t = ChatTemplate::parse(source, "t");
  if (!t) return tl::unexpected(t.error());
  return t->render(context, {}, kNow);
}
Json json(std::string_view text) { return value(Json::parse(text)); }

Conversation conversation(const Json& row) {
  Conversation c;
  c.messages = *row.find("messages");
  c.tools = *row.find("tools");
  c.kwargs = *row.find("kwargs");
  c.special_tokens = *row.find("special_tokens");
  c.now = value(parse_time(row.text("now")));
  return c;
}

TEST(Jinja, RendersSnippetsAsJinjaDoes) {
  const auto rows = lines(kTemplates + "snippets.jsonl");
  ASSERT_GE(rows.size(), 140u);
  for (const Json& row : rows) {
    const auto text = rendered(row.text("source"));
    ASSERT_TRUE(text) << text.error().what << "\n" << row.text("source");
    EXPECT_EQ(*text, row.text("expected")) << row.text("topic") << ": " << row.text("source");
  }
}

TEST(ModelTemplates, RenderThePromptsOfTheEmbeddedModel) {
  const auto models = value(ModelTemplates::load(kSource + "/weights/cairn-tiny-lm"));
  EXPECT_EQ(models.special_tokens(), json(R"({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})"));
  size_t seen = 0;
  for (const Json& row : lines(kSource + "/tests/golden/lm/cases.jsonl")) {
    const Json* messages = row.find("messages");
    if (!messages || messages->is_null()) continue;
    ++seen;
    Conversation c;
    c.messages = *messages;
    if (const Json* tools = row.find("tools")) c.tools = *tools;
    c.special_tokens = models.special_tokens();
    const auto t = value(models.choose(!c.tools.is_null()));
    EXPECT_EQ(value(render(t, c)), row.text("text_without_generation_prompt")) << row.text("name");
    c.add_generation_prompt = true;
    EXPECT_EQ(value(render(t, c)), row.text("text")) << row.text("name");
  }
  EXPECT_GE(seen, 10u);
}

TEST(Jinja, SharesItsProgramAmongThreads) {
  const auto rows = lines(kTemplates + "expected.jsonl");
  const ChatTemplate t = open_template(rows[0].text("template"));
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int k = 0; k < 20; ++k)
          if (const auto text = render(t, conversation(rows[0])); text && *text == rows[0].text("expected")) ++right;
      });
  }
  EXPECT_EQ(right, 80);
}

TEST(Conversation, DropsNullsAndNamesReasoningTwice) {
  const auto t =
      value(ChatTemplate::parse("{% for m in messages %}{{ m }}{% endfor %}{{ tools }}{{ documents }}", "t"));
  Conversation c;
  c.messages = json(R"([{"role": "user", "content": null, "reasoning": "why", "x": [null]}])");
  EXPECT_EQ(value(render(t, c)),
            "{'thinking': 'why', 'role': 'user', 'reasoning': 'why', 'x': [None], 'reasoning_content': 'why'}NoneNone");
  c.messages = json(R"([{"thinking": "a", "reasoning_content": "b"}])");
  EXPECT_EQ(value(render(t, c)), "{'thinking': 'a', 'reasoning_content': 'b'}NoneNone");
}

TEST(Conversation, LetsKwargsWinOverSpecialTokens) {
  const auto t = value(ChatTemplate::parse("{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ x }}", "t"));
  Conversation c;
  c.messages = json(R"([{"role": "user"}])");
  c.special_tokens = json(R"({"bos_token": "<s>", "eos_token": "</s>"})");
  c.kwargs = json(R"({"bos_token": "<b>", "x": 1})");
  EXPECT_EQ(value(render(t, c)), "<b></s>False1");
  c.kwargs = json(R"({"messages": []})");
  EXPECT_THAT(render(t, c).error().what, testing::HasSubstr("'messages' is no variable to set"));
}

TEST(Conversation, ContinuesTheFinalMessage) {
  const auto plain = value(ChatTemplate::parse("{% for m in messages %}<{{ m.content }}>{% endfor %}", "t"));
  const auto trims = value(ChatTemplate::parse("{% for m in messages %}<{{ m.content | trim }}>{% endfor %}", "t"));
  Conversation c;
  c.messages = json(R"([{"content": "a"}, {"content": " So "}])");
  c.continue_final_message = true;
  EXPECT_EQ(value(render(plain, c)), "<a>< So ");
  EXPECT_EQ(value(render(trims, c)), "<a><So");
  c.messages = json(R"([{"content": [{"type": "text", "text": "x"}, {"type": "image"}]}])");
  const auto parts = value(ChatTemplate::parse("{{ messages[0].content[0].text }}</s>", "t"));
  EXPECT_EQ(value(render(parts, c)), "x");
  EXPECT_FALSE(render(value(ChatTemplate::parse("nothing", "t")), c));
  c.messages = json(R"([{"role": "assistant"}])");
  EXPECT_FALSE(render(plain, c));
}

TEST(Conversation, RefusesWhatIsNoConversation) {
  const auto t = value(ChatTemplate::parse("x", "t"));
  for (const char* messages : {"[]", "{}", "null", "[1]", R"("hi")"}) {
    Conversation c;
    c.messages = json(messages);
    EXPECT_FALSE(render(t, c)) << messages;
  }
  Conversation c;
  c.messages = json("[{}]");
  c.tools = json("[3]");
  EXPECT_FALSE(render(t, c));
  c.tools = json("{}");
  EXPECT_FALSE(render(t, c));
}

TEST(Errors, NameLineColumnAndThing) {
  const auto error = [](std::string_view source) { return rendered(source).error().what; };
  EXPECT_EQ(error("a\n {{ 'é' | uper }}"),
            "chat template t, line 2, column 11: unknown filter 'uper', did you mean upper?");
  EXPECT_EQ(error("{{ 1 is od }}"), "chat template t, line 1, column 9: unknown test 'od', did you mean odd?");
  EXPECT_EQ(error("\n\n{% include 'x' %}"),
            "chat template t, line 3, column 4: unknown or unexpected statement 'include'");
  EXPECT_EQ(error("{{ now() }}"), "chat template t, line 1, column 4: 'now' is undefined");
  EXPECT_EQ(error("{{ 'x'.encode() }}"), "chat template t, line 1, column 8: 'str object' has no attribute 'encode'");
  EXPECT_EQ(error("{% for x in y %}\n"),
            "chat template t, line 1, column 15: the 'for' that starts here has no 'endfor'");
  EXPECT_EQ(error("{{ 1 + }}"), "chat template t, line 1, column 8: expected an expression, got '}}'");
  EXPECT_EQ(error("{{ 'a' + 1 }}"),
            "chat template t, line 1, column 8: '+' cannot take values of type 'str' and 'int'");
  EXPECT_EQ(ChatTemplate::parse("{{ 1 | nope }}", "t").error().code, Code::kUnsupported);
  for (const char* broken : {"{{",
                             "{% if %}",
                             "{{ 'a }}",
                             "{# x",
                             "{% raw %}x",
                             "{% endif %}",
                             "{{ a b }}",
                             "{{ ) }}",
                             "{{ [1 }}",
                             "{% set 1 = 2 %}",
                             "{% set true = 2 %}",
                             "{{ f(a=1, 2) }}",
                             "{{ a.!b }}",
                             "{% break %}",
                             "{% call x %}{% endcall %}",
                             "{% macro f(a=1, b) %}{% endmacro %}",
                             "{{ 'a\\xz' }}",
                             "{{ 99999999999999999999 }}",
                             "{{ 1 is odd is even }}",
                             "{% %}"})
    EXPECT_FALSE(ChatTemplate::parse(broken, "t")) << broken;
}

TEST(Errors, AreMadeOnlyByWhatIsEvaluated) {
  EXPECT_EQ(value(rendered("{% if false %}{{ 1 | nope }}{{ x.y.z }}{% endif %}ok")), "ok");
  EXPECT_THAT(rendered("{% if true %}{{ 1 | nope }}{% endif %}").error().what, testing::HasSubstr("unknown filter"));
  EXPECT_THAT(rendered("{{ [1] | map('nope') | list }}").error().what, testing::HasSubstr("unknown filter 'nope'"));
}

TEST(Errors, CarryTheMessageOfRaiseException) {
  const auto text = rendered("\n {{ raise_exception('Only ' ~ n ~ ' turns') }}", json(R"({"n": 3})"));
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().what, "Only 3 turns");
  EXPECT_EQ(text.error().code, Code::kInvalidArgument);
}

TEST(Time, IsReadAndChecked) {
  const std::tm t = value(parse_time("2024-02-29"));
  EXPECT_EQ(t.tm_yday, 59);
  EXPECT_EQ(t.tm_wday, 4);
  for (const char* wrong : {"", "2023-02-29", "2026-13-01", "2026-01-01T25:00:00", "2026-01-01T10:00:00Z", "x", "2026"})
    EXPECT_FALSE(parse_time(wrong)) << wrong;
}

class Folder {
 public:
  Folder& with(const std::string& name, std::string_view text) {
    const std::filesystem::path path = copy_.path() + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return *this;
  }
  Result<ModelTemplates> load() { return ModelTemplates::load(copy_.path()); }
  std::string text(bool with_tools = false, std::string_view name = {}) {
    const auto t = value(load()).choose(with_tools, name);
    return t ? value(t->render(Json::Object{})) : t.error().what;
  }

 private:
  Copy copy_{"", {}};
};

TEST(ModelTemplates, AreFoundWhereModelsKeepThem) {
  EXPECT_EQ(Folder().with("tokenizer_config.json", R"({"chat_template": "one"})").text(), "one");
  Folder both;
  both.with("tokenizer_config.json", R"({"chat_template": "one"})")
      .with("chat_template.json", R"({"chat_template": "two"})");
  EXPECT_EQ(both.text(), "two");
  EXPECT_EQ(both.with("chat_template.jinja", "three\n").text(), "three");
  EXPECT_EQ(both.with("additional_chat_templates/rag.jinja", "four").text(false, "rag"), "four");

  Folder named;
  named.with("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "d"},
      {"name": "tool_use", "template": "t"}, {"name": "broken", "template": "{{"}]})");
  EXPECT_EQ(named.text(), "d");
  EXPECT_EQ(named.text(true), "t");
  EXPECT_THAT(named.text(false, "broken"), testing::HasSubstr("tokenizer_config.json (broken), line 1"));
  EXPECT_THAT(named.text(false, "tool-use"), testing::HasSubstr("did you mean tool_use?"));
}

TEST(ModelTemplates, SayWhenThereIsNone) {
  Folder empty;
  empty.with("config.json", "{}");
  EXPECT_THAT(empty.text(), testing::HasSubstr("has no chat template"));
  EXPECT_FALSE(ModelTemplates::load("/nowhere/at/all"));
  EXPECT_FALSE(Folder().with("tokenizer_config.json", R"({"chat_template": 3})").load());
  EXPECT_FALSE(Folder().with("tokenizer_config.json", R"({"chat_template": [{"name": "x"}]})").load());
  EXPECT_FALSE(Folder().with("tokenizer_config.json", "{").load());
}

TEST(ModelTemplates, ReadSpecialTokensAsTextsOrObjects) {
  Folder f;
  f.with("special_tokens_map.json", R"({"bos_token": {"content": "<b>"}, "eos_token": "<old>"})")
      .with("tokenizer_config.json", R"({"eos_token": {"content": "<e>"}, "unk_token": null,
          "extra_special_tokens": {"image_token": "<img>"}})");
  EXPECT_EQ(value(f.load()).special_tokens(),
            json(R"({"bos_token": "<b>", "eos_token": "<e>", "image_token": "<img>"})"));
}

}  // namespace
}  // namespace cairn::text
