// JSON schemas: what the grammar accepts is valid, and what cannot be compiled is named.
#include <gmock/gmock.h>

#include <cstdio>
#include <fstream>

#include "text/grammar_helpers.h"
#include "text/json_oracle.h"
#include "text/random_schema.h"

namespace cairn::text::grammar {
namespace {

using testing::HasSubstr;

Spec schema(std::string s) { return {Kind::kJsonSchema, std::move(s)}; }

struct SchemaCase {
  const char* schema;
  std::vector<std::string> yes, no;
};

TEST(JsonSchema, ReadsWhatItAllows) {
  const SchemaCase cases[] = {
      {R"({"type":"integer","minimum":-5,"maximum":120})",
       {"-5", "0", "7", "99", "120"},
       {"-6", "121", "-0", "01", "1.0", "1e1"}},
      {R"({"type":"integer","exclusiveMinimum":9,"multipleOf":7})", {"14", "700"}, {"7", "15", "0"}},
      {R"({"type":"number","minimum":0.5,"exclusiveMaximum":2})",
       {"0.5", "1", "1.99", "0.50"},
       {"0.49", "2", "2.0", "-1"}},
      {R"({"type":"number"})", {"0", "-1.5e+10", "123456"}, {"1.", ".5", "+1", "1e999", "NaN"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", "\"a\xe2\x82\xac\"", R"("\n\u00e9x")"},
       {R"("a")", R"("abcd")", R"("\ud800x")", "\"a\nb\""}},
      {R"({"type":"string","pattern":"^a\"b$"})", {R"("a\"b")"}, {R"("ab")", R"("a"b")"}},
      {R"({"type":"string","pattern":"\\d","maxLength":3})", {R"("1")", R"("a1b")"}, {R"("abc")", R"("ab12")"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-02-28")", R"("1999-12-31")"},
       {R"("2023-02-29")", R"("2024-13-01")"}},
      {R"({"enum":["a",1,null,{"k":[1]}]})", {R"("a")", "1", "null", R"({"k":[1]})"}, {"2", R"("b")"}},
      {R"({"type":"string","enum":["a",1]})", {R"("a")"}, {"1"}},
      {R"({"type":["boolean","null"]})", {"true", "null"}, {"0", "\"\""}},
      {R"({"properties":{"a":{"type":"integer"},"b":{"type":"boolean"}},"required":["b"]})",
       {R"({"b":true})", R"({"a":1,"b":false})", "{\n  \"a\": 1,\n  \"b\": true\n}"},
       {"{}", R"({"a":1})", R"({"b":true,"a":1})", R"({"b":true,"c":1})", R"({"b":true,})"}},
      {R"({"properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"null"}})",
       {"{}", R"({"ab":1})", R"({"a":null})", R"({"ab":1,"abc":null,"":null})", R"({"é":null})"},
       {R"({"ab":null})", R"({"a":1})", R"({"ab":1,"ab":null})", R"({"\u0061b":null})"}},
      {R"({"patternProperties":{"^x-":{"type":"integer"}},"properties":{"x-a":{"maximum":5},)"
       R"("b":true},"additionalProperties":false})",
       {R"({"x-a":5,"b":[],"x-b":100})"},
       {R"({"x-a":6})", R"({"c":1})", R"({"x-b":"1"})"}},
      {R"({"type":"object","minProperties":1,"maxProperties":2,"additionalProperties":{"const":1}})",
       {R"({"a":1})", R"({"a":1,"b":1})"},
       {"{}", R"({"a":1,"b":1,"c":1})"}},
      {R"({"type":"object","required":["z"],"additionalProperties":{"const":1}})",
       {R"({"z":1})", R"({"z":1,"a":1})"},
       {"{}", R"({"z":2})"}},
      {R"({"type":"array","items":{"type":"null"},"minItems":1,"maxItems":3})",
       {"[null]", "[null,null, null]"},
       {"[]", "[null,null,null,null]", "[1]"}},
      {R"({"prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"minItems":1})",
       {"[1]", "[1,2]", "[1,2,3,3]"},
       {"[]", "[2]", "[1,3]"}},
      {R"({"prefixItems":[{"const":1},{"const":2}]})", {"[]", "[1]", "[1, 2]"}, {"[1,2,3]"}},
      {R"({"items":[{"const":1}],"additionalItems":false})", {"[]", "[1]"}, {"[1,1]"}},
      {R"({"$ref":"#/$defs/n","$defs":{"n":{"properties":{"v":{"type":"integer"},)"
       R"("next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v"]}}})",
       {R"({"v":1})", R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"next":null})"}},
      {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},)"
       R"({"properties":{"a":{"minimum":3},"b":{"type":"null"}}}]})",
       {R"({"a":3})", R"({"a":4,"b":null})"},
       {R"({"a":2})", R"({"b":null})"}},
      {R"({"allOf":[{"properties":{"a":true},"additionalProperties":false},{"properties":{"b":true}}]})",
       {R"({"a":1})"},
       {R"({"b":1})"}},
      {R"({"oneOf":[{"type":"object","properties":{"t":{"const":"x"}},"required":["t"]},)"
       R"({"type":"object","properties":{"t":{"const":"y"},"n":{"type":"integer"}},"required":["t","n"]}]})",
       {R"({"t":"x"})", R"({"t":"y","n":1})"},
       {R"({"t":"y"})", R"({"t":"z"})"}},
      {R"({"type":"object"})", {"{}", R"({"a":{"b":[1,"x",null,{}]}})"}, {"[]", "{", R"({a:1})"}},
      {"true", {"1", R"(["x"])"}, {"", "nul"}},
      {R"({"anyOf":[{"type":"string"},{"type":"integer"}],"minimum":5})", {R"("x")", "5"}, {"4"}},
  };
  for (const SchemaCase& c : cases) {
    Reader r(schema(c.schema));
    for (const auto& s : c.yes) EXPECT_TRUE(r.reads(s)) << c.schema << " on " << s;
    for (const auto& s : c.no) EXPECT_FALSE(r.reads(s)) << c.schema << " on " << s;
  }
}

TEST(JsonSchema, NamesWhatItDoesNotSupportAndWhere) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {R"({"properties":{"a":{"not":{}}}})", "#/properties/a/not: the keyword \"not\" is not supported"},
           {R"({"if":{}})", "#/if"},
           {R"({"type":"array","uniqueItems":true})", "#/uniqueItems"},
           {R"({"contains":{}})", "contains"},
           {R"({"dependentRequired":{}})", "dependentRequired"},
           {R"({"unevaluatedProperties":false})", "unevaluatedProperties"},
           {R"({"propertyNames":{}})", "propertyNames"},
           {R"({"type":"string","format":"iri"})", "#/format: the format \"iri\""},
           {R"({"type":"strng"})", "did you mean string"},
           {R"x({"type":"string","pattern":"(?=a)"})x", "#/pattern: regular expression, character 3"},
           {R"({"$ref":"#/$defs/x"})", "leads nowhere"},
           {R"({"$ref":"http://a"})", "#/$ref: the reference"},
           {R"({"$ref":"#"})", "refers to itself"},
           {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "refers to itself"},
           {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})",
            "#/oneOf: a value may match both option 0 and option 1"},
           {R"({"oneOf":[{"type":"object","properties":{"a":{"const":1}}},)"
            R"({"type":"object","properties":{"a":{"const":2}}}]})",
            "may match both"},
           {R"({"enum":[]})", "no finite text"},
           {R"({"type":"integer","minimum":3,"maximum":2})", "no finite text"},
           {R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})", "no finite text"},
           {"false", "no finite text"},
           {R"({"enum":["aa"],"type":"string","maxLength":1})", "#/enum: a list of values beside other limits"},
           {R"({"type":"number","multipleOf":0.1})", "#/multipleOf"},
           {R"({"minLength":-1})", "#/minLength: expected a whole number"},
           {R"({"maxItems":99999999})", "#/maxItems: a count above"},
           {R"({"properties":[]})", "#/properties: expected an object"},
           {R"({"minProperties":3,"type":"object"})", "minProperties"},
           {"[]", "#: expected a schema, got"},
           {"{", "not valid JSON"},
           {R"({"patternProperties":{"a":{},"b":{}}})", "more than one pattern"},
           {R"({"required":"a"})", "#/required: expected a list"}}) {
    EXPECT_THAT(error_of(schema(text)), HasSubstr(words)) << text;
  }
}

TEST(JsonSchema, RefusesSchemasThatWouldCostTooMuch) {
  std::string many = "{\"allOf\":[", wide = "{\"properties\":{";
  for (int i = 0; i < 40; ++i) many += std::string(i ? "," : "") + R"({"anyOf":[{"minimum":1},{"maximum":2}]})";
  EXPECT_THAT(error_of(schema(many + "]}")), HasSubstr("combinations"));
  for (int i = 0; i < 3000; ++i)
    wide += std::string(i ? "," : "") + "\"p" + std::to_string(i) + "\":{\"type\":\"integer\"}";
  EXPECT_THAT(error_of(schema(wide + R"(},"minProperties":1000})")), HasSubstr("too large"));
  EXPECT_THAT(error_of(schema(R"({"type":"string","pattern":"^(a|b)*$","maxLength":900000})")), HasSubstr("too large"));
  std::string deep;
  for (int i = 0; i < 240; ++i) deep += R"({"items":)";
  EXPECT_THAT(error_of(schema(deep + "1" + std::string(240, '}'))), HasSubstr("expected a schema"));
}

// 500 random schemas, and random texts of each.
struct Case {
  Json schema;
  std::string text;
};
const std::vector<Case>& random_cases() {
  static const auto cases = [] {
    const auto tokens = value(TokenSet::of(value(Tokenizer::load(kSource + "/weights/cairn-tiny-lm"))));
    std::vector<Case> out;
    size_t schemas = 0;
    for (uint32_t seed = 0; schemas < 500; ++seed) {
      const Json s = RandomSchema(seed).whole();
      const auto g = CompiledGrammar::compile(schema(s.dump()), tokens);
      if (!g) {  // only a contradiction may stop it
        EXPECT_THAT(g.error().what, testing::AnyOf(HasSubstr("no finite text"), HasSubstr("beside other limits"),
                                                   HasSubstr("may match both"), HasSubstr("more than one pattern"),
                                                   HasSubstr("refers to itself")))
            << s.dump();
        continue;
      }
      ++schemas;
      std::mt19937 rng(seed);
      size_t texts = 0;
      for (int tries = 0; tries < 10 && texts < 3; ++tries)
        if (auto text = random_text(schema(s.dump()), *g, rng)) out.push_back({s, *std::move(text)}), ++texts;
      EXPECT_GT(texts, 0u) << s.dump();
    }
    return out;
  }();
  return cases;
}

TEST(RandomSchemas, GiveTextsThatTheOracleFindsValid) {
  for (const Case& c : random_cases()) {
    const auto v = Json::parse(c.text);
    ASSERT_TRUE(v) << c.schema.dump() << "\n" << c.text;
    EXPECT_TRUE(Oracle(c.schema).valid(*v)) << c.schema.dump() << "\n" << c.text;
  }
}

TEST(RandomSchemas, GiveTextsThatThePackageJsonschemaFindsValid) {
  if (std::system("python3 -c 'import jsonschema' 2>/dev/null") != 0)
    GTEST_SKIP() << "python3 has no package jsonschema";
  const std::string path = testing::TempDir() + "/cairn-schemas.jsonl";
  std::ofstream out(path);
  for (const Case& c : random_cases()) out << Json(Json::Object{{"schema", c.schema}, {"text", c.text}}).dump() << "\n";
  out.close();
  FILE* pipe = popen(("python3 " + kSource + "/tests/text/validate_json.py " + path).c_str(), "r");
  ASSERT_TRUE(pipe);
  std::string printed;
  for (char buffer[4096]; const size_t n = std::fread(buffer, 1, sizeof buffer, pipe);) printed.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << printed.substr(0, 4000);
  EXPECT_THAT(printed, HasSubstr(std::to_string(random_cases().size()) + " valid"));
}

TEST(Oracle, FindsWhatIsNotValid) {
  for (const auto& [s, v] :
       std::vector<std::pair<std::string, std::string>>{{R"({"type":"integer"})", "1.5"},
                                                        {R"({"required":["a"]})", "{}"},
                                                        {R"({"maxLength":1})", "\"ab\""},
                                                        {R"({"pattern":"^a"})", "\"b\""},
                                                        {R"({"items":{"type":"null"}})", "[1]"},
                                                        {R"({"additionalProperties":false})", R"({"a":1})"},
                                                        {R"({"oneOf":[{},{}]})", "1"},
                                                        {R"({"enum":[1]})", "2"},
                                                        {R"({"minimum":1})", "0"},
                                                        {R"({"multipleOf":3})", "4"}}) {
    const Json j = value(Json::parse(s));
    EXPECT_FALSE(Oracle(j).valid(value(Json::parse(v)))) << s;
  }
}

}  // namespace
}  // namespace cairn::text::grammar
