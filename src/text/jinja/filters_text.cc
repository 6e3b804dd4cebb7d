// Filters on texts and numbers.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "text/jinja/filters.h"
#include "text/jinja/numbers.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

bool marked(const Value& v) { return v.as_text() && v.as_text()->markup; }

// The value's str() changed by f; what was markup stays markup.
template <class F>
Value changed(Run& run, const Value& v, F&& f) {
  const std::string s = text_of(run, v);
  run.scan(s.size() * 4);
  return run.text(std::string(f(s)), marked(v));
}

Value upper_filter(Run& run, const Value& v, const Arguments&) { return changed(run, v, upper); }
Value lower_filter(Run& run, const Value& v, const Arguments&) { return changed(run, v, lower); }
Value capitalize_filter(Run& run, const Value& v, const Arguments&) { return changed(run, v, capitalize); }

// Words begin after white space, hyphens and opening brackets, unlike those of str.title().
Value title_filter(Run& run, const Value& v, const Arguments&) {
  return changed(run, v, [](std::string_view s) {
    const auto splits = [](char32_t c) {
      return python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    };
    std::string out;
    for (size_t at = 0; at < s.size();) {
      size_t end = at;
      const bool gap = splits(code_point_at(s, at).value);
      while (end < s.size() && splits(code_point_at(s, end).value) == gap) end += code_point_at(s, end).size;
      const size_t first = code_point_at(s, at).size;
      out += upper(s.substr(at, first)) + lower(s.substr(at + first, end - at - first));
      at = end;
    }
    return out;
  });
}

Value trim_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'trim'", {"chars"});
  std::optional<std::string_view> chars;
  if (given[0] && !given[0]->is_none()) chars = text_argument(run, given[0], "the characters of trim", {});
  return changed(run, v, [&](std::string_view s) { return strip(s, Side::kBoth, chars); });
}

Value string_filter(Run& run, const Value& v, const Arguments&) { return v.as_text() ? v : run.text(text_of(run, v)); }
Value safe_filter(Run& run, const Value& v, const Arguments&) { return run.text(text_of(run, v), true); }
Value escape_filter(Run& run, const Value& v, const Arguments&) { return escaped(run, v); }

Value replace_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'replace'", {"old", "new", "count"}, 2);
  const int64_t count = given[2] && !given[2]->is_none() ? integer_argument(run, given[2], "count", -1) : -1;
  const std::string s = text_of(run, v), from = text_of(run, *given[0]), to = text_of(run, *given[1]);
  return run.text(replaced(run, s, from, to, count), marked(v));
}

Value indent_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'indent'", {"width", "first", "blank"});
  const bool first = truth_argument(given[1]), blank = truth_argument(given[2]);
  const std::string_view s = text_argument(run, &v, "what is indented", {});
  std::string width;
  if (given[0] && given[0]->as_text()) {
    width = given[0]->as_text()->view();
  } else {
    Builder spaces(run);
    spaces.repeat(" ", integer_argument(run, given[0], "the width of indent", 4));
    width = spaces.take();
  }
  run.scan(s.size());
  const std::string whole = std::string(s) + "\n";
  Builder out(run);
  bool is_first = true;
  for (const auto line : split_lines(whole, false)) {
    if (!is_first) out.add('\n');
    if (is_first ? first : blank || !line.empty()) out.add(width);
    out.add(line);
    is_first = false;
  }
  return run.text(out.take(), marked(v));
}

Value center_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'center'", {"width"});
  const std::string s = text_of(run, v);
  return run.text(centered(run, s, integer_argument(run, given[0], "the width of center", 80), " "), marked(v));
}

Value truncate_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'truncate'", {"length", "killwords", "end", "leeway"});
  const int64_t most = integer_argument(run, given[0], "the length of truncate", 255);
  const std::string_view end = text_argument(run, given[2], "the end of truncate", "...");
  const bool own_leeway = given[3] && !given[3]->is_none();
  const int64_t leeway = own_leeway ? integer_argument(run, given[3], "the leeway of truncate", 0) : 5;
  const auto end_length = static_cast<int64_t>(length(end));
  if (most < end_length || leeway < 0) run.fail("truncate needs a length no shorter than its end, and a leeway from 0");
  int64_t size = 0;
  if (length_of(v, size) && (size <= most || size - most <= leeway)) return v;
  const std::string_view s = text_argument(run, &v, "what is truncated", {});
  run.scan(s.size());
  std::string_view cut = s.substr(0, offset_of(s, static_cast<size_t>(most - end_length)));
  if (!truth_argument(given[1]))
    if (const size_t space = cut.rfind(' '); space != std::string_view::npos) cut = cut.substr(0, space);
  return run.text(std::string(cut) + std::string(end), marked(v));
}

Value wordcount_filter(Run& run, const Value& v, const Arguments&) {
  const std::string s = text_of(run, v);
  run.scan(s.size() * 4);
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = code_point_at(s, at);
    const bool word = c.value == '_' || is_letter(c.value) || is_numeric(c.value);  // Python's \w leaves marks out
    count += word && !inside;
    inside = word;
    at += c.size;
  }
  return count;
}

Value format_filter(Run& run, const Value& v, const Arguments& a) {
  const std::string s = text_of(run, v);
  const Text format{std::make_shared<const std::string>(s), marked(v)};
  if (a.named.empty()) return format_percent(run, format, run.list(a.positional, Sequence::Kind::kTuple));
  if (!a.positional.empty()) run.fail("the filter 'format' takes arguments with names, or without, not both");
  Dict d;
  for (const auto& [name, value] : a.named) d.set(run, run.text(name), value);
  return format_percent(run, format, run.dict(std::move(d)));
}

Value tojson_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'tojson'", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = truth_argument(given[0]);
  style.sort_keys = truth_argument(given[3]);
  if (given[1] && !given[1]->is_none()) {
    style.lines = true;
    style.item = ",";
    if (const auto* t = given[1]->as_text()) {
      style.indent = t->view();
    } else {
      Builder spaces(run);
      spaces.repeat(" ", integer_argument(run, given[1], "the indent of tojson", 0));
      style.indent = spaces.take();
    }
  }
  if (given[2] && !given[2]->is_none()) {
    const auto parts = items_of(run, *given[2]);
    if (parts.size() != 2) run.fail("the separators of tojson are two texts");
    style.item = text_argument(run, &parts[0], "a separator", {});
    style.key = text_argument(run, &parts[1], "a separator", {});
  }
  return run.text(to_json(run, v, style));
}

Value abs_filter(Run& run, const Value& v, const Arguments&) {
  run.need_defined(v);
  double d = 0;
  if (!v.number(d)) run.fail(fmt::format("abs needs a number, not {}", v.type()));
  if (v.as_float()) return std::fabs(d);
  return d < 0 ? negate(run, v) : arithmetic(run, "+", v, 0);
}

Value int_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'int'", {"default", "base"});
  run.need_defined(v);
  const Value otherwise = given[0] ? *given[0] : Value(0);
  int64_t i = 0;
  if (v.integer(i)) return i;
  if (const auto* f = v.as_float()) {
    if (std::isnan(*f)) return otherwise;
    return whole(run, std::trunc(*f));
  }
  const auto* t = v.as_text();
  if (!t) return otherwise;
  if (const auto n = parse_int(t->view(), integer_argument(run, given[1], "the base of int", 10))) return *n;
  const auto f = parse_float(t->view());
  return f && std::isfinite(*f) ? Value(whole(run, std::trunc(*f))) : otherwise;
}

Value float_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'float'", {"default"});
  run.need_defined(v);
  double d = 0;
  if (v.number(d)) return d;
  const auto parsed = v.as_text() ? parse_float(v.as_text()->view()) : std::nullopt;
  if (parsed) return *parsed;
  return given[0] ? *given[0] : Value(0.0);
}

Value round_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'round'", {"precision", "method"});
  run.need_defined(v);
  const int64_t precision = integer_argument(run, given[0], "the precision of round", 0);
  const std::string_view method = text_argument(run, given[1], "the method of round", "common");
  double d = 0;
  if (!v.number(d)) run.fail(fmt::format("round needs a number, not {}", v.type()));
  if (method == "common") {
    if (v.as_float()) return python_round(d, precision);
    if (precision >= 0) return arithmetic(run, "+", v, 0);
    return whole(run, python_round(d, precision));
  }
  if (method != "ceil" && method != "floor") run.fail("the method of round is 'common', 'ceil' or 'floor'");
  if (precision > 300 || precision < -300) run.fail("the precision of round is out of range");
  const double unit = std::pow(10.0, static_cast<double>(precision));
  // No -0.0: Python has integers here.
  return (method == "ceil" ? std::ceil(d * unit) : std::floor(d * unit)) / unit + 0.0;
}

constexpr FilterEntry kFilters[] = {{"abs", abs_filter},         {"capitalize", capitalize_filter},
                                    {"center", center_filter},   {"e", escape_filter},
                                    {"escape", escape_filter},   {"float", float_filter},
                                    {"format", format_filter},   {"indent", indent_filter},
                                    {"int", int_filter},         {"lower", lower_filter},
                                    {"replace", replace_filter}, {"round", round_filter},
                                    {"safe", safe_filter},       {"string", string_filter},
                                    {"title", title_filter},     {"tojson", tojson_filter},
                                    {"trim", trim_filter},       {"truncate", truncate_filter},
                                    {"upper", upper_filter},     {"wordcount", wordcount_filter}};

}  // namespace

std::span<const FilterEntry> text_filters() { return kFilters; }

std::string replaced(Run& run, std::string_view s, std::string_view from, std::string_view to, int64_t count) {
  run.scan(s.size());
  Builder out(run);
  size_t at = 0;
  for (; count != 0; --count) {
    if (from.empty()) {  // before every code point, and at the end
      out.add(to);
      if (at == s.size()) break;
      const size_t size = code_point_at(s, at).size;
      out.add(s.substr(at, size));
      at += size;
      run.step();
      continue;
    }
    const size_t next = s.find(from, at);
    if (next == std::string_view::npos) break;
    out.add(s.substr(at, next - at));
    out.add(to);
    at = next + from.size();
  }
  out.add(s.substr(at));
  return out.take();
}

std::string centered(Run& run, std::string_view s, int64_t width, std::string_view fill) {
  const int64_t pad = std::max<int64_t>(width - static_cast<int64_t>(length(s)), 0);
  const int64_t left = pad / 2 + (pad & width & 1);
  Builder out(run);
  out.repeat(fill, left);
  out.add(s);
  out.repeat(fill, pad - left);
  return out.take();
}

}  // namespace cairn::text::jinja
