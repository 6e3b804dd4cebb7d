// What templates may use by name: filters, tests, functions, and the methods of values.
#pragma once
#include <string>
#include <string_view>

#include "text/jinja/run.h"

namespace cairn::text::jinja {

struct FilterEntry {
  std::string_view name;
  Value (*apply)(Run& run, const Value& to, const Arguments& arguments);
};
struct TestEntry {
  std::string_view name;
  bool (*holds)(Run& run, const Value& of, const Arguments& arguments);
};
struct Function {
  std::string_view name;
  Value (*call)(Run& run, const Arguments& arguments);
};
struct MethodEntry {
  std::string_view name;
  Value (*call)(Run& run, const Value& self, const Arguments& arguments);
};

// Null when there is none of that name.
const FilterEntry* find_filter(std::string_view name);
const TestEntry* find_test(std::string_view name);
const Function* find_function(std::string_view name);
const MethodEntry* find_method(const Value& self, std::string_view name);
// Whether Python's type has a method of that name that changes the value, which templates may not.
bool mutates(const Value& self, std::string_view name);
// ", did you mean X?" or nothing.
std::string offer_filter(std::string_view name);
std::string offer_test(std::string_view name);

// of.name, of[key], of[start:stop:step]; what is absent is undefined.
Value attribute(Run& run, const Value& of, std::string_view name);
Value item(Run& run, const Value& of, const Value& key);
Value slice(Run& run, const Value& of, const Value& start, const Value& stop, const Value& step);

// a OP b for + - * / // % **
Value operate(Run& run, std::string_view op, const Value& a, const Value& b);
Value negate(Run& run, const Value& v);
// "<" becomes "&lt;" and so on, unless the text was escaped already.
Value escaped(Run& run, const Value& v);

// "%s of %d" % arguments, a tuple, a dict or one value.
Value format_percent(Run& run, const Text& format, const Value& arguments);
// "{} of {name:>4}".format(...)
Value format_braces(Run& run, const Text& format, const Arguments& arguments);
// strftime without locale; fails on a directive it does not know.
std::string format_time(Run& run, std::string_view format, const std::tm& time);

// An argument that must be a text or a whole number; `what` names it in the error. Absent ones give `otherwise`.
std::string_view text_argument(Run& run, const Value* v, std::string_view what, std::string_view otherwise);
int64_t integer_argument(Run& run, const Value* v, std::string_view what, int64_t otherwise);
bool truth_argument(const Value* v, bool otherwise = false);

}  // namespace cairn::text::jinja
