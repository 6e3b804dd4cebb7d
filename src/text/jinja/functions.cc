// The functions that are there without being passed in, and strftime.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja/library.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

constexpr int64_t kMostRange = 100000;  // numbers of one range(), as in Jinja's sandbox

Value range(Run& run, const Arguments& a) {
  const auto given = a.bind(run, "range()", {"start", "stop", "step"}, 1);
  if (!a.named.empty()) run.fail("range() takes no arguments with names");
  const int64_t first = integer_argument(run, given[0], "an argument of range()", 0);
  const int64_t start = given[1] ? first : 0;
  const int64_t stop = integer_argument(run, given[1], "an argument of range()", first);
  const int64_t step = integer_argument(run, given[2], "an argument of range()", 1);
  if (step == 0) run.fail("the step of range() cannot be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    run.step();
    if (static_cast<int64_t>(items.size()) == kMostRange)
      run.fail(fmt::format("a range of more than {} numbers is refused", kMostRange));
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  std::string label =
      step == 1 ? fmt::format("range({}, {})", start, stop) : fmt::format("range({}, {}, {})", start, stop, step);
  return run.list(std::move(items), Sequence::Kind::kRange, std::move(label));
}

// dict(mapping or pairs, name=value, ...)
Dict entries(Run& run, const Arguments& a, std::string_view what) {
  if (a.positional.size() > 1) run.fail(fmt::format("{} takes at most 1 argument without a name", what));
  Dict d;
  if (!a.positional.empty()) {
    const Value& from = a.positional[0];
    if (const auto* other = from.as_dict()) {
      for (const auto& [k, v] : other->entries()) run.step(), d.set(run, k, v);
    } else {
      for (const Value& pair : items_of(run, from)) {
        const auto kv = items_of(run, pair);
        if (kv.size() != 2) run.fail(fmt::format("{} needs pairs, and got {} items", what, kv.size()));
        d.set(run, kv[0], kv[1]);
      }
    }
  }
  for (const auto& [name, v] : a.named) d.set(run, run.text(name), v);
  return d;
}

Value make_dict(Run& run, const Arguments& a) { return run.dict(entries(run, a, "dict()")); }

Value make_namespace(Run& run, const Arguments& a) {
  const Dict d = entries(run, a, "namespace()");
  Namespace* n = run.make_namespace();
  for (const auto& [k, v] : d.entries()) {
    const auto name = text_argument(run, &k, "a name in namespace()", {});
    if (name.starts_with('_'))
      run.fail(fmt::format("a namespace takes no name with an underscore in front: '{}'", name));
    n->members.emplace_back(name, v);
  }
  return n;
}

Value raise_exception(Run& run, const Arguments& a) {
  const Value& message = *a.bind(run, "raise_exception()", {"message"}, 1)[0];
  throw Failure(Error{Code::kInvalidArgument, text_of(run, message)});
}

Value strftime_now(Run& run, const Arguments& a) {
  const auto given = a.bind(run, "strftime_now()", {"format"}, 1);
  return run.text(format_time(run, text_argument(run, given[0], "the format of strftime_now()", {}), run.now()));
}

constexpr Function kFunctions[] = {{"range", range},
                                   {"dict", make_dict},
                                   {"namespace", make_namespace},
                                   {"raise_exception", raise_exception},
                                   {"strftime_now", strftime_now}};

constexpr std::array kDays = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr std::array kMonths = {"January", "February", "March",     "April",   "May",      "June",
                                "July",    "August",   "September", "October", "November", "December"};

// Thursday decides the year that an ISO week belongs to.
std::pair<int, int> iso_week(const std::tm& t) {
  const int weekday = (t.tm_wday + 6) % 7;  // from Monday
  const auto weeks = [](int year) {
    const auto p = [](int y) { return (y + y / 4 - y / 100 + y / 400) % 7; };
    return p(year) == 4 || p(year - 1) == 3 ? 53 : 52;
  };
  int year = t.tm_year + 1900, week = (t.tm_yday - weekday + 10) / 7;
  if (week < 1) return {year - 1, weeks(year - 1)};
  if (week > weeks(year)) return {year + 1, 1};
  return {year, week};
}

// One directive; `pad` is '0', ' ' or, for the flag '-', '\0'. Nothing when it is unknown.
std::string directive(char c, char flag, const std::tm& t) {
  const auto number = [&](int v, int width, char pad = '0') {
    if (flag == '-') return std::to_string(v);
    return pad == '0' && flag != '_' ? fmt::format("{:0{}}", v, width) : fmt::format("{:{}}", v, width);
  };
  const auto cut = [](const char* name) { return std::string(name).substr(0, 3); };
  const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
  const auto wday = static_cast<size_t>(t.tm_wday), month = static_cast<size_t>(t.tm_mon);
  switch (c) {
    case 'a':
      return cut(kDays[wday]);
    case 'A':
      return kDays[wday];
    case 'b':
    case 'h':
      return cut(kMonths[month]);
    case 'B':
      return kMonths[month];
    case 'C':
      return number((t.tm_year + 1900) / 100, 2);
    case 'd':
      return number(t.tm_mday, 2);
    case 'e':
      return number(t.tm_mday, 2, ' ');
    case 'H':
      return number(t.tm_hour, 2);
    case 'k':
      return number(t.tm_hour, 2, ' ');
    case 'I':
      return number(hour12, 2);
    case 'l':
      return number(hour12, 2, ' ');
    case 'j':
      return number(t.tm_yday + 1, 3);
    case 'm':
      return number(t.tm_mon + 1, 2);
    case 'M':
      return number(t.tm_min, 2);
    case 'S':
      return number(t.tm_sec, 2);
    case 'f':
      return "000000";
    case 'p':
      return t.tm_hour < 12 ? "AM" : "PM";
    case 'P':
      return t.tm_hour < 12 ? "am" : "pm";
    case 'y':
      return number((t.tm_year + 1900) % 100, 2);
    case 'Y':
      return std::to_string(t.tm_year + 1900);
    case 'G':
      return std::to_string(iso_week(t).first);
    case 'V':
      return number(iso_week(t).second, 2);
    case 'u':
      return std::to_string(t.tm_wday == 0 ? 7 : t.tm_wday);
    case 'w':
      return std::to_string(t.tm_wday);
    case 'U':
      return number((t.tm_yday + 7 - t.tm_wday) / 7, 2);
    case 'W':
      return number((t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7, 2);
    case 'n':
      return "\n";
    case 't':
      return "\t";
    case '%':
      return "%";
    default:
      return {};
  }
}

// The directives that stand for others.
std::string_view composed(char c) {
  switch (c) {
    case 'c':
      return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x':
      return "%m/%d/%y";
    case 'F':
      return "%Y-%m-%d";
    case 'R':
      return "%H:%M";
    case 'r':
      return "%I:%M:%S %p";
    case 'T':
    case 'X':
      return "%H:%M:%S";
    default:
      return {};
  }
}

}  // namespace

const Function* find_function(std::string_view name) {
  const auto* at =
      std::find_if(std::begin(kFunctions), std::end(kFunctions), [&](const Function& e) { return e.name == name; });
  return at == std::end(kFunctions) ? nullptr : at;
}

std::string format_time(Run& run, std::string_view format, const std::tm& time) {
  Builder out(run);
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out.add(format[i]);
      continue;
    }
    char flag = format[++i];
    if ((flag == '-' || flag == '_' || flag == '0') && i + 1 < format.size())
      ++i;
    else
      flag = '\0';
    const char c = format[i];
    if (c == 'z' || c == 'Z') continue;  // the clock has no zone, and Python writes nothing for it
    if (const auto parts = composed(c); !parts.empty()) {
      out.add(format_time(run, parts, time));
      continue;
    }
    const std::string text = directive(c, flag, time);
    if (text.empty())
      run.fail(fmt::format("strftime_now() knows no '%{}'", format.substr(i, code_point_at(format, i).size)));
    out.add(text);
  }
  return out.take();
}

}  // namespace cairn::text::jinja
