// Chat templates against what transformers renders (tests/golden/lm/templates/README.md).
#include "text/chat_template.h"

#include <gmock/gmock.h>

#include "base/file.h"

namespace cairn::text {
namespace {

using testing::HasSubstr;

const std::string kFolder = std::string(CAIRN_SOURCE_DIR) + "/tests/golden/lm/templates/";

Json value_of(const Json& object, const char* key) {
  const Json* v = object.find(key);
  return v ? *v : Json();
}
bool flag(const Json& kwargs, const char* key) {
  const Json* v = kwargs.find(key);
  return v && v->as_bool() && *v->as_bool();
}

TEST(ChatTemplate, RendersTheRecordedConversationsByteForByte) {
  const std::string lines = or_throw(read_file(kFolder + "expected.jsonl"));
  int count = 0;
  for (size_t at = 0; at < lines.size(); ++count) {
    const size_t end = lines.find('\n', at);
    const Json c = or_throw(Json::parse(std::string_view(lines).substr(at, end - at)));
    at = end + 1;
    const std::string name = c.text("template");
    const auto parsed = or_throw(ChatTemplate::parse(or_throw(read_file(kFolder + name + ".jinja")), name));
    Conversation conversation{.messages = value_of(c, "messages"),
                              .tools = value_of(c, "tools"),
                              .kwargs = value_of(c, "kwargs"),
                              .special_tokens = value_of(c, "special_tokens"),
                              .add_generation_prompt = flag(value_of(c, "kwargs"), "add_generation_prompt"),
                              .continue_final_message = flag(value_of(c, "kwargs"), "continue_final_message"),
                              .now = {}};
    if (!c.text("now").empty()) conversation.now = or_throw(parse_time(c.text("now")));
    const auto got = render(parsed, std::move(conversation));
    if (!c.text("error_type").empty()) {
      EXPECT_FALSE(got) << name << " " << count;
      if (!got && c.text("error_type") == "TemplateError") {
        EXPECT_THAT(got.error().what, HasSubstr(c.text("error")));
      }
    } else {
      ASSERT_TRUE(got) << name << " " << count << ": " << got.error().what;
      EXPECT_EQ(*got, c.text("expected")) << name << " " << count;
    }
  }
  EXPECT_EQ(count, 54);
}

TEST(ChatTemplate, NamesWhatItDoesNotKnowAndWhere) {
  const auto refused = [](const char* source) {
    const auto parsed = ChatTemplate::parse(source, "t");
    if (!parsed) return parsed.error().what;
    const auto got = parsed->render(Json(Json::Object{}));
    return got ? "rendered " + *got : got.error().what;
  };
  EXPECT_THAT(refused("ab\n{{ x | fly }}"), testing::AllOf(HasSubstr("fly"), HasSubstr("2")));
  EXPECT_THAT(refused("{% launch %}"), HasSubstr("launch"));
  EXPECT_THAT(refused("{% for x in range(3) %}"), HasSubstr("for"));
}

TEST(ChatTemplate, StopsEndlessLoopsHugeTextsAndDeepNesting) {
  const auto fails = [](const std::string& source) {
    const auto parsed = ChatTemplate::parse(source, "t");
    return !parsed || !parsed->render(Json(Json::Object{}));
  };
  EXPECT_TRUE(fails("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"));
  EXPECT_TRUE(fails("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"));
  EXPECT_TRUE(fails("{{ 'x' * 1000000000000 }}"));
  EXPECT_TRUE(fails("{{ " + std::string(200000, '(') + "1" + std::string(200000, ')') + " }}"));
}

}  // namespace
}  // namespace cairn::text
