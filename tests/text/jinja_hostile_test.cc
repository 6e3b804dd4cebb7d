// Templates and inputs that mean harm: each is stopped with an error, and soon.
#include <gmock/gmock.h>

#include <functional>

#include "text/chat_template.h"
#include "text/helpers.h"

namespace cairn::text {
namespace {

using testing::HasSubstr;

std::string error_of(std::string_view source, const Json& context = Json::Object{}, const RenderLimits& limits = {}) {
  const auto t = ChatTemplate::parse(source, "t");
  if (!t) return t.error().what;
  const auto text = t->render(context, limits);
  return text ? "no error: " + text->substr(0, 60) : text.error().what;
}
std::string times(std::string_view part, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += part;
  return out;
}

TEST(Hostile, LoopsRunOutOfSteps) {
  EXPECT_THAT(error_of("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
              HasSubstr("line 1, column 40: stopped after 10000000 steps"));
  const RenderLimits few{.most_steps = 1000};
  EXPECT_THAT(error_of("{% set s = 'a' * 9999999 %}{% for i in range(900) %}{% if 'b' in s %}{% endif %}{% endfor %}",
                       Json::Object{}, few),
              HasSubstr("stopped after 1000 steps"));
  EXPECT_THAT(error_of("{{ range(1000) | map('string') | join }}", Json::Object{}, few), HasSubstr("1000 steps"));
  EXPECT_THAT(error_of("{{ range(200000) | list }}"), HasSubstr("more than 100000 numbers"));
}

TEST(Hostile, TextsAndListsStayWithinTheirBytes) {
  for (const char* source :
       {"{{ 'a' * 1000000000000 }}",
        "{{ [0] * 1000000000000 }}",
        "{{ '%999999999999999d' % 1 }}",
        "{{ '%*d' % (9223372036854775807, 1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.center(99999999999) }}",
        "{{ 'a'.zfill(9223372036854775807) }}",
        "{{ 'a' | indent(99999999999, true) }}",
        "{{ [1] | tojson(indent=99999999999) }}",
        "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
        "{{ ('a' * 9999).replace('', 'b' * 9999) }}",
        "{{ ('a' * 9999) | join('b' * 9999) }}",
        "{{ ('b' * 9999).join('a' * 9999) }}",
        "{{ [1] | batch(99999999999, 'x') | list }}",
        "{{ '%.999999999f' % 1.5 }}",
        "{{ '{:.999999999f}'.format(1.5) }}",
        "{{ (1, ) * 9223372036854775807 }}",
        "{{ 'a'.ljust(-1 + 9223372036854775807) }}",
        "{{ [1] | slice(9223372036854775807) | list }}",
        "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}"})
    EXPECT_THAT(error_of(source), testing::AnyOf(HasSubstr("stopped"), HasSubstr("too large"), HasSubstr("refused")))
        << source;
  EXPECT_THAT(error_of("{{ 'abc' * 10 }}", Json::Object{}, {.most_output = 20}), HasSubstr("more than 20 bytes"));
  EXPECT_THAT(error_of("{% for i in range(9) %}abc{% endfor %}", Json::Object{}, {.most_output = 20}),
              HasSubstr("more than 20 bytes"));
}

TEST(Hostile, RecursionHasAnEnd) {
  EXPECT_THAT(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("inside each other"));
  EXPECT_THAT(
      error_of("{% macro f(a) %}{{ a | map('upper') | join }}{{ f([a, '1'] | first) }}{% endmacro %}{{ f('x') }}"),
      HasSubstr("inside each other"));
  EXPECT_THAT(error_of("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), HasSubstr("inside each other"));
  EXPECT_THAT(error_of("{% macro f() %}{{ caller() }}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}"
                       "{% call f() %}x{% endcall %}"),
              HasSubstr("the macro was not called by a call block"));
  EXPECT_THAT(error_of("{{ [[1]] | map(" + times("'map', ", 2000) + "'upper') | list }}"),
              testing::Not(HasSubstr("no error")));
}

TEST(Hostile, SourcesThatNestAreRefused) {
  const size_t n = 20000;
  for (const std::string& source : {"{{ " + times("(", n) + "1" + times(")", n) + " }}",
                                    "{{ " + times("[", n) + times("]", n) + " }}",
                                    "{{ " + times("{1:", n) + "1" + times("}", n) + " }}",
                                    "{{ " + times("not ", n) + "1 }}",
                                    "{{ " + times("-", n) + "1 }}",
                                    "{{ x" + times(".a", n) + " }}",
                                    "{{ x" + times("[0]", n) + " }}",
                                    "{{ x" + times("()", n) + " }}",
                                    "{{ x" + times("|upper", n) + " }}",
                                    "{{ 1" + times(" + 1", n) + " }}",
                                    "{{ 1" + times(" if 1 else 1", n) + " }}",
                                    "{{ 1" + times(" ** 1", n) + " }}",
                                    "{{ 1" + times(" and 1", n) + " }}",
                                    "{{ x" + times("[x", n) + times("]", n) + " }}",
                                    "{{ f(" + times("f(", n) + times(")", n) + ") }}",
                                    times("{% if 1 %}", n) + times("{% endif %}", n),
                                    times("{% for i in x %}", n),
                                    times("{% macro f() %}", n),
                                    times("{% set x %}", n),
                                    times("{% filter upper %}", n),
                                    "{% for " + times("(", n) + "a" + times(")", n) + " in x %}{% endfor %}",
                                    "{% set x %}{% endset %}{% set y" + times("|upper", n) + " %}{% endset %}"})
    EXPECT_THAT(error_of(source), HasSubstr("inside each other")) << source.substr(0, 30);
}

TEST(Hostile, LongIsNotDeep) {
  EXPECT_EQ(error_of("{% if 0 %}" + times("{% elif 0 %}", 5000) + "{% else %}y{% endif %}"), "no error: y");
  EXPECT_EQ(error_of("{{ 1" + times(" ~ ''", 5000) + " }}"), "no error: 1");
  EXPECT_EQ(error_of("{{ [" + times("1,", 5000) + "] | length }}"), "no error: 5000");
  EXPECT_EQ(error_of("{{ 1" + times(" < 2 > 1", 2000) + " }}"), "no error: True");
}

TEST(Hostile, ValuesThatNestAreRefused) {
  const std::string grow = "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = ";
  EXPECT_THAT(error_of(grow + "[n.x] %}{% endfor %}{{ n.x }}"), HasSubstr("nests deeper"));
  EXPECT_THAT(error_of(grow + "{'a': n.x} %}{% endfor %}{{ n.x | tojson }}"), HasSubstr("nests deeper"));
  EXPECT_THAT(error_of(grow + "[n.x | first] %}{% endfor %}{{ n.x }}"), HasSubstr("no error"));
  const std::string own = "{% set n = namespace() %}{% set n.a = [n] %}";
  EXPECT_THAT(error_of(own + "{{ n }}"), HasSubstr("nest too deeply"));
  EXPECT_THAT(error_of(own + "{{ n | tojson }}"), HasSubstr("not JSON serializable"));
  EXPECT_THAT(error_of(own + "{{ n.a == [n] }}{{ n == n }}"), HasSubstr("no error: TrueTrue"));
  Json deep = Json::Array{};
  for (int i = 0; i < 280; ++i) deep = Json::Array{deep};
  EXPECT_THAT(error_of("{{ x | tojson | length }}{{ x == x }}", Json::Object{{"x", deep}}), HasSubstr("no error: 562"));
  for (int i = 0; i < 280; ++i) deep = Json::Array{deep};
  EXPECT_THAT(error_of("{{ x }}", Json::Object{{"x", deep}}), HasSubstr("nests deeper"));
}

TEST(Hostile, LoopsAndMacrosMayOutliveTheirScope) {
  EXPECT_EQ(
      error_of("{% set n = namespace() %}{% for i in [1, 2] %}{% set n.l = loop %}{% set n.v = n.l.changed(loop) %}"
               "{% endfor %}{{ n.l.length }}{{ n.l.changed(n.l) }}{{ n.l.index }}"),
      "no error: 2False3");
  EXPECT_EQ(error_of("{% set n = namespace() %}{% macro f(a) %}{% macro g() %}{{ a }}{% endmacro %}{% set n.g = g %}"
                     "{% for x in [1] recursive %}{% set n.l = loop %}{{ x }}{% endfor %}{% endmacro %}"
                     "{{ f('in') }}{{ f('out') }}{{ n.g() }}{{ n.l([2, 3]) }}"),
            "no error: 11out23");
}

TEST(Hostile, SandboxKeepsItsWalls) {
  EXPECT_THAT(error_of("{{ ''.__class__.__mro__ }}"), HasSubstr("unsafe"));
  EXPECT_THAT(error_of("{{ [].append(1) }}"), HasSubstr("access to attribute 'append' of 'list' object is unsafe"));
  EXPECT_THAT(error_of("{{ {}.update(a=1) }}"), HasSubstr("unsafe"));
  EXPECT_THAT(error_of("{% set n = namespace() %}{% set n._x = 1 %}"), HasSubstr("underscore"));
  EXPECT_THAT(error_of("{% set n = namespace(_x=1) %}"), HasSubstr("underscore"));
  EXPECT_THAT(error_of("{% set d = {} %}{% set d.x = 1 %}"), HasSubstr("is no namespace"));
}

TEST(Hostile, NumbersStayInRange) {
  for (const char* source : {"{{ 9223372036854775807 + 1 }}",
                             "{{ -9223372036854775807 - 2 }}",
                             "{{ 9223372036854775807 * 2 }}",
                             "{{ 2 ** 64 }}",
                             "{{ 1 / 0 }}",
                             "{{ 1 // 0 }}",
                             "{{ 1 % 0 }}",
                             "{{ 1.0 / 0 }}",
                             "{{ 0 ** -1 }}",
                             "{{ 1e308 | int }}",
                             "{{ (-9223372036854775807 - 1) // -1 }}",
                             "{{ -(-9223372036854775807 - 1) }}",
                             "{{ (-9223372036854775807 - 1) | abs }}",
                             "{{ 1e300 ** 9 }}",
                             "{{ (-8) ** 0.5 }}",
                             "{{ [1][::0] }}",
                             "{{ range(1, 2, 0) }}",
                             "{{ 1e300 | round(400, 'ceil') }}",
                             "{{ '%c' % 1114112 }}",
                             "{{ '%c' % 55296 }}"})
    EXPECT_THAT(error_of(source), testing::Not(HasSubstr("no error"))) << source;
  EXPECT_EQ(error_of("{{ (-9223372036854775807 - 1) % -1 }}"), "no error: 0");
  EXPECT_EQ(error_of("{{ range(9223372036854775806, 9223372036854775807, 5) | list | length }}"), "no error: 1");
}

TEST(Hostile, BrokenUtf8IsRefused) {
  EXPECT_THAT(error_of("a\xff{{ 1 }}"), HasSubstr("byte 1 is not valid UTF-8"));
  EXPECT_THAT(error_of("{{ x }}", Json::Object{{"x", "\xff"}}), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(error_of("{{ x }}", Json::Object{{"x", Json::Object{{"\xc0", 1}}}}), HasSubstr("not valid UTF-8"));
}

TEST(Hostile, UserTextIsNeverATemplate) {
  EXPECT_EQ(error_of("{{ x }}{{ x | trim }}", Json::Object{{"x", "{{ 7 * 7 }}{% raise %}"}}),
            "no error: {{ 7 * 7 }}{% raise %}{{ 7 * 7 }}{% raise %}");
}

}  // namespace
}  // namespace cairn::text
