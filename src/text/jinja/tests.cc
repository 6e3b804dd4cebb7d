// The tests after `is`.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "text/jinja/library.h"
#include "text/jinja/numbers.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

const Value& only(Run& run, const Arguments& a) { return *a.bind(run, "the test", {"other"}, 1)[0]; }

bool callable(Run&, const Value& v, const Arguments&) { return v.callable() || v.is_undefined(); }
bool defined(Run&, const Value& v, const Arguments&) { return !v.is_undefined(); }
bool undefined(Run&, const Value& v, const Arguments&) { return v.is_undefined(); }
bool none(Run&, const Value& v, const Arguments&) { return v.is_none(); }
bool boolean(Run&, const Value& v, const Arguments&) { return v.as_bool() != nullptr; }
bool is_true(Run&, const Value& v, const Arguments&) { return v.as_bool() && *v.as_bool(); }
bool is_false(Run&, const Value& v, const Arguments&) { return v.as_bool() && !*v.as_bool(); }
bool string(Run&, const Value& v, const Arguments&) { return v.as_text() != nullptr; }
bool number(Run&, const Value& v, const Arguments&) { return v.is_number(); }
bool integer(Run&, const Value& v, const Arguments&) { return v.is_integer(); }
bool real(Run&, const Value& v, const Arguments&) { return v.as_float() != nullptr; }
bool mapping(Run&, const Value& v, const Arguments&) { return v.as_dict() != nullptr; }
bool iterable(Run&, const Value& v, const Arguments&) {
  return v.is_undefined() || v.as_text() || v.as_sequence() || v.as_dict() || v.as_loop();
}
bool sequence(Run&, const Value& v, const Arguments&) {
  const auto* s = v.as_sequence();
  return v.is_undefined() || v.as_text() || v.as_dict() || (s && s->indexable());
}
bool escaped_text(Run&, const Value& v, const Arguments&) { return v.as_text() && v.as_text()->markup; }
bool is_filter(Run&, const Value& v, const Arguments&) { return v.as_text() && find_filter(v.as_text()->view()); }
bool is_test(Run&, const Value& v, const Arguments&) { return v.as_text() && find_test(v.as_text()->view()); }

bool eq(Run& run, const Value& v, const Arguments& a) { return equal(run, v, only(run, a)); }
bool ne(Run& run, const Value& v, const Arguments& a) { return !equal(run, v, only(run, a)); }
bool lt(Run& run, const Value& v, const Arguments& a) { return less(run, v, only(run, a)); }
bool gt(Run& run, const Value& v, const Arguments& a) { return less(run, only(run, a), v); }
bool le(Run& run, const Value& v, const Arguments& a) { return equal(run, v, only(run, a)) || lt(run, v, a); }
bool ge(Run& run, const Value& v, const Arguments& a) { return equal(run, v, only(run, a)) || gt(run, v, a); }
bool in(Run& run, const Value& v, const Arguments& a) {
  return contains(run, *a.bind(run, "the test 'in'", {"seq"}, 1)[0], v);
}

// Identity: of singletons, small integers and containers; two equal texts count as the same one.
bool same_as(Run& run, const Value& v, const Arguments& a) {
  const Value& other = only(run, a);
  if (v.as_sequence() || v.as_dict()) return v.as_sequence() == other.as_sequence() && v.as_dict() == other.as_dict();
  return std::string_view(v.type()) == other.type() && equal(run, v, other);
}

int64_t remainder(Run& run, const Value& v, const Value& by) {
  const Value m = operate(run, "%", v, by);
  double d = 0;
  if (!m.number(d)) run.fail("the test needs numbers");
  return d == 0 ? 0 : d == 1 ? 1 : 2;
}
bool even(Run& run, const Value& v, const Arguments&) { return remainder(run, v, 2) == 0; }
bool odd(Run& run, const Value& v, const Arguments&) { return remainder(run, v, 2) == 1; }
bool divisible_by(Run& run, const Value& v, const Arguments& a) {
  return remainder(run, v, *a.bind(run, "the test 'divisibleby'", {"num"}, 1)[0]) == 0;
}

// str.islower and str.isupper of the value's text.
bool one_case(Run& run, const Value& v, bool (*wanted)(char32_t), bool (*other)(char32_t)) {
  const std::string s = text_of(run, v);
  bool any = false;
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = code_point_at(s, at);
    if (other(c.value)) return false;
    any = any || wanted(c.value);
    at += c.size;
  }
  return any;
}
bool is_lower(Run& run, const Value& v, const Arguments&) { return one_case(run, v, has_lower, has_upper); }
bool is_upper(Run& run, const Value& v, const Arguments&) { return one_case(run, v, has_upper, has_lower); }

constexpr TestEntry kTests[] = {{"boolean", boolean},
                                {"callable", callable},
                                {"defined", defined},
                                {"undefined", undefined},
                                {"none", none},
                                {"true", is_true},
                                {"false", is_false},
                                {"string", string},
                                {"number", number},
                                {"integer", integer},
                                {"float", real},
                                {"mapping", mapping},
                                {"iterable", iterable},
                                {"sequence", sequence},
                                {"escaped", escaped_text},
                                {"filter", is_filter},
                                {"test", is_test},
                                {"eq", eq},
                                {"equalto", eq},
                                {"==", eq},
                                {"ne", ne},
                                {"!=", ne},
                                {"lt", lt},
                                {"lessthan", lt},
                                {"<", lt},
                                {"le", le},
                                {"<=", le},
                                {"gt", gt},
                                {"greaterthan", gt},
                                {">", gt},
                                {"ge", ge},
                                {">=", ge},
                                {"in", in},
                                {"sameas", same_as},
                                {"even", even},
                                {"odd", odd},
                                {"divisibleby", divisible_by},
                                {"lower", is_lower},
                                {"upper", is_upper}};

}  // namespace

const TestEntry* find_test(std::string_view name) {
  const auto* at =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const TestEntry& e) { return e.name == name; });
  return at == std::end(kTests) ? nullptr : at;
}

std::string offer_test(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& e : kTests) names.emplace_back(e.name);
  return did_you_mean(name, names);
}

}  // namespace cairn::text::jinja
