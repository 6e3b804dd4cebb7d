#include "base/json.h"

#include <gmock/gmock.h>

#include "base/yaml.h"

namespace cairn {
namespace {

using testing::HasSubstr;

TEST(Json, ReadsEveryKindOfValueAndWritesItBack) {
  const auto j = Json::parse(R"({"a":[1,-2.5,true,null,"x\u00e9"],"b":{}})");
  ASSERT_TRUE(j) << j.error().what;
  EXPECT_EQ(j->dump(), R"({"a":[1,-2.5,true,null,"xé"],"b":{}})");
}

TEST(Json, NamesLineAndColumnOfAnError) {
  const auto j = Json::parse("{\n  \"a\": 1,\n  b\n}");
  ASSERT_FALSE(j);
  EXPECT_THAT(j.error().what, HasSubstr("line 3"));
}

TEST(Json, RefusesNestingWithoutEnd) {
  const auto j = Json::parse(std::string(100'000, '['));
  ASSERT_FALSE(j);
  EXPECT_THAT(j.error().what, HasSubstr("256 levels"));
}

TEST(Json, TheLastOfRepeatedKeysCounts) {
  EXPECT_EQ(Json::parse(R"({"a":1,"b":2,"a":3})")->dump(), R"({"a":3,"b":2})");
}

TEST(Json, IntegersBeyond64BitsBecomeReals) {
  EXPECT_EQ(Json::parse("18446744073709551615")->number(), 18446744073709551615.0);
}

TEST(Yaml, FollowsTheCoreSchema) {
  const auto j = parse_yaml("a: 1\nb: 0.5\nc: \"1\"\nd: [x, null, true, 1e-8]\ne:\n  f: ~\n");
  ASSERT_TRUE(j) << j.error().what;
  EXPECT_EQ(j->dump(), R"({"a":1,"b":0.5,"c":"1","d":["x",null,true,1e-08],"e":{"f":null}})");
}

TEST(Yaml, RefusesAliasesThatExplode) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) text += (k ? ", *a" : "*a") + std::to_string(i - 1);
    text += "]\n";
  }
  const auto j = parse_yaml(text);
  ASSERT_FALSE(j);
  EXPECT_THAT(j.error().what, HasSubstr("expands"));
}

TEST(Yaml, NamesThePlaceOfAnError) {
  const auto j = parse_yaml("a: [1, 2\nb: 3\n");
  ASSERT_FALSE(j);
  EXPECT_THAT(j.error().what, HasSubstr("line"));
}

}  // namespace
}  // namespace cairn
