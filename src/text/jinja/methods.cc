// The methods of texts, lists and dicts.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja/filters.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

using Kind = Sequence::Kind;
using Given = std::vector<const Value*>;

const std::string& bytes(const Value& self) { return self.as_text()->view(); }

Value text(Run& run, const Value& self, std::string_view s) { return run.text(std::string(s), self.as_text()->markup); }
Value texts(Run& run, const Value& self, const std::vector<std::string_view>& parts, Kind kind = Kind::kList) {
  std::vector<Value> out;
  run.step(parts.size());
  for (const auto p : parts) out.push_back(text(run, self, p));
  return run.list(std::move(out), kind);
}

std::optional<std::string_view> optional_text(Run& run, const Value* v, std::string_view what) {
  if (!v || v->is_none()) return {};
  return text_argument(run, v, what, {});
}

template <Side side>
Value strip_method(Run& run, const Value& self, const Arguments& a) {
  const auto chars = optional_text(run, a.bind(run, "strip()", {"chars"})[0], "the characters of strip()");
  run.scan(chars ? bytes(self).size() * (chars->size() + 1) : bytes(self).size());
  return text(run, self, strip(bytes(self), side, chars));
}

template <bool right>
Value split_method(Run& run, const Value& self, const Arguments& a) {
  const auto given = a.bind(run, "split()", {"sep", "maxsplit"});
  const auto separator = optional_text(run, given[0], "the separator of split()");
  if (separator && separator->empty()) run.fail("the separator of split() is empty");
  const int64_t most = integer_argument(run, given[1], "the number of cuts", -1);
  run.scan(bytes(self).size() * 4);
  return texts(run, self, right ? split_right(bytes(self), separator, most) : split(bytes(self), separator, most));
}

Value splitlines(Run& run, const Value& self, const Arguments& a) {
  const bool keep = truth_argument(a.bind(run, "splitlines()", {"keepends"})[0]);
  run.scan(bytes(self).size() * 4);
  return texts(run, self, split_lines(bytes(self), keep));
}

template <bool right>
Value partition(Run& run, const Value& self, const Arguments& a) {
  const auto separator = text_argument(run, a.bind(run, "partition()", {"sep"}, 1)[0], "the separator", {});
  if (separator.empty()) run.fail("the separator of partition() is empty");
  const std::string_view s = bytes(self);
  const size_t at = right ? s.rfind(separator) : s.find(separator);
  if (at == s.npos) {
    std::vector<std::string_view> parts = {s, {}, {}};
    if (right) std::swap(parts[0], parts[2]);
    return texts(run, self, parts, Kind::kTuple);
  }
  return texts(run, self, {s.substr(0, at), separator, s.substr(at + separator.size())}, Kind::kTuple);
}

Value join(Run& run, const Value& self, const Arguments& a) {
  Builder out(run);
  bool first = true;
  for (const Value& v : items_of(run, *a.bind(run, "join()", {"iterable"}, 1)[0])) {
    if (!first) out.add(bytes(self));
    out.add(text_argument(run, &v, "an item of join()", {}));
    first = false;
  }
  return run.text(out.take(), self.as_text()->markup);
}

Value replace(Run& run, const Value& self, const Arguments& a) {
  const auto given = a.bind(run, "replace()", {"old", "new", "count"}, 2);
  const auto from = text_argument(run, given[0], "what replace() looks for", {});
  const auto to = text_argument(run, given[1], "what replace() puts there", {});
  return text(run, self, replaced(run, bytes(self), from, to, integer_argument(run, given[2], "count", -1)));
}

// The part of the text between two optional indices, and where it starts; false when the start lies behind the end.
struct Window {
  std::string_view s;
  int64_t start = 0;
  bool valid = true;
};
Window window(Run& run, const Value& self, const Value* start, const Value* stop) {
  std::string_view s = bytes(self);
  run.scan(s.size());
  if (!start && !stop) return {s, 0, true};
  const auto size = static_cast<int64_t>(length(s));
  const auto bound = [&](const Value* v, int64_t otherwise) {
    if (!v || v->is_none()) return otherwise;
    const int64_t i = integer_argument(run, v, "an index", 0);
    return i < 0 ? std::max<int64_t>(i < -size ? 0 : i + size, 0) : i;
  };
  const int64_t from = bound(start, 0), to = std::min(bound(stop, size), size);
  if (from > to) return {{}, from, false};
  s = s.substr(offset_of(s, static_cast<size_t>(from)));
  return {s.substr(0, offset_of(s, static_cast<size_t>(to - from))), from, true};
}

enum class Search { kFind, kIndex };
template <Search kind, bool right>
Value find(Run& run, const Value& self, const Arguments& a) {
  const auto given = a.bind(run, "find()", {"sub", "start", "end"}, 1);
  const auto part = text_argument(run, given[0], "what find() looks for", {});
  const Window w = window(run, self, given[1], given[2]);
  const size_t at = !w.valid ? w.s.npos : right ? w.s.rfind(part) : w.s.find(part);
  if (at != w.s.npos) return w.start + static_cast<int64_t>(length(w.s.substr(0, at)));
  if (kind == Search::kIndex) run.fail("substring not found");
  return -1;
}

Value count(Run& run, const Value& self, const Arguments& a) {
  const auto given = a.bind(run, "count()", {"sub", "start", "end"}, 1);
  const auto part = text_argument(run, given[0], "what count() looks for", {});
  const Window w = window(run, self, given[1], given[2]);
  if (!w.valid) return 0;
  if (part.empty()) return static_cast<int64_t>(length(w.s)) + 1;
  int64_t n = 0;
  for (size_t at = w.s.find(part); at != w.s.npos; at = w.s.find(part, at + part.size())) ++n;
  return n;
}

template <bool end>
Value starts(Run& run, const Value& self, const Arguments& a) {
  const auto given = a.bind(run, end ? "endswith()" : "startswith()", {"prefix", "start", "end"}, 1);
  const Window w = window(run, self, given[1], given[2]);
  const auto one = [&](const Value& v) {
    const auto part = text_argument(run, &v, "what it starts or ends with", {});
    return w.valid && (end ? w.s.ends_with(part) : w.s.starts_with(part));
  };
  const auto* several = given[0]->as_sequence();
  if (!several || !several->tuple()) return one(*given[0]);
  run.step(several->items.size());
  return std::any_of(several->items.begin(), several->items.end(), one);
}

template <bool end>
Value remove_end(Run& run, const Value& self, const Arguments& a) {
  const auto part = text_argument(run, a.bind(run, "removeprefix()", {"prefix"}, 1)[0], "what is removed", {});
  std::string_view s = bytes(self);
  if (end ? s.ends_with(part) : s.starts_with(part))
    s = end ? s.substr(0, s.size() - part.size()) : s.substr(part.size());
  return text(run, self, s);
}

template <std::string (*change)(std::string_view)>
Value changed(Run& run, const Value& self, const Arguments& a) {
  a.bind(run, "the method", {});
  run.scan(bytes(self).size() * 8);
  return text(run, self, change(bytes(self)));
}

// str.isX: whether the text is not empty and every code point holds.
template <bool (*holds)(char32_t)>
Value all_are(Run& run, const Value& self, const Arguments&) {
  const std::string& s = bytes(self);
  run.scan(s.size() * 4);
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = code_point_at(s, at);
    if (!holds(c.value)) return false;
    at += c.size;
  }
  return !s.empty();
}
bool letter_or_number(char32_t c) { return is_letter(c) || is_numeric(c); }
bool digit(char32_t c) {
  return is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089);
}

Value isupper(Run& run, const Value& self, const Arguments& a) { return find_test("upper")->holds(run, self, a); }
Value islower(Run& run, const Value& self, const Arguments& a) { return find_test("lower")->holds(run, self, a); }

enum class Align { kLeft, kRight, kCenter };
template <Align align>
Value justify(Run& run, const Value& self, const Arguments& a) {
  const auto given = a.bind(run, "ljust()", {"width", "fillchar"}, 1);
  const int64_t width = integer_argument(run, given[0], "the width", 0);
  const auto fill = text_argument(run, given[1], "the fill character", " ");
  if (length(fill) != 1) run.fail("the fill character must be exactly one character long");
  const std::string& s = bytes(self);
  if (align == Align::kCenter) return text(run, self, centered(run, s, width, fill));
  Builder out(run);
  const int64_t pad = width - static_cast<int64_t>(length(s));
  if (align == Align::kRight) out.repeat(fill, pad);
  out.add(s);
  if (align == Align::kLeft) out.repeat(fill, pad);
  return text(run, self, out.take());
}

Value zfill(Run& run, const Value& self, const Arguments& a) {
  const int64_t width = integer_argument(run, a.bind(run, "zfill()", {"width"}, 1)[0], "the width", 0);
  const std::string_view s = bytes(self);
  const size_t sign = s.starts_with('+') || s.starts_with('-') ? 1 : 0;
  Builder out(run);
  out.add(s.substr(0, sign));
  out.repeat("0", width - static_cast<int64_t>(length(s)));
  out.add(s.substr(sign));
  return text(run, self, out.take());
}

Value format(Run& run, const Value& self, const Arguments& a) { return format_braces(run, *self.as_text(), a); }

Value list_index(Run& run, const Value& self, const Arguments& a) {
  const Value& wanted = *a.bind(run, "index()", {"value"}, 1)[0];
  const auto& items = self.as_sequence()->items;
  for (size_t i = 0; i < items.size(); ++i)
    if (equal(run, items[i], wanted)) return static_cast<int64_t>(i);
  run.fail("index(): the value is not in the list");
}
Value list_count(Run& run, const Value& self, const Arguments& a) {
  const Value& wanted = *a.bind(run, "count()", {"value"}, 1)[0];
  const auto& items = self.as_sequence()->items;
  return static_cast<int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& v) { return equal(run, v, wanted); }));
}
Value copy(Run& run, const Value& self, const Arguments& a) {
  a.bind(run, "copy()", {});
  return self;  // values do not change, so that a copy cannot be told from the original
}

Value dict_get(Run& run, const Value& self, const Arguments& a) {
  const auto given = a.bind(run, "get()", {"key", "default"}, 1);
  const Value* v = self.as_dict()->find(run, *given[0]);
  if (v) return *v;
  return given[1] ? *given[1] : None{};
}

template <Kind kind>
Value view(Run& run, const Value& self, const Arguments& a) {
  a.bind(run, "the method", {});
  std::vector<Value> out;
  for (const auto& [key, value] : self.as_dict()->entries()) {
    run.step();
    out.push_back(kind == Kind::kItems ? run.list({key, value}, Kind::kTuple) : kind == Kind::kKeys ? key : value);
  }
  return run.list(std::move(out), kind);
}

// loop.cycle(a, b) and loop.changed(value)
Value cycle(Run& run, const Value& self, const Arguments& a) {
  if (a.positional.empty()) run.fail("cycle() needs values");
  return a.positional[self.as_loop()->at % a.positional.size()];
}
Value loop_changed(Run& run, const Value& self, const Arguments& a) {
  Loop& l = *self.as_loop();
  const bool same = l.asked && l.seen.size() == a.positional.size() &&
                    std::equal(l.seen.begin(), l.seen.end(), a.positional.begin(),
                               [&](const Value& x, const Value& y) { return equal(run, x, y); });
  l.asked = true;
  if (!same) l.seen = a.positional;
  return !same;
}

constexpr MethodEntry kOfText[] = {{"strip", strip_method<Side::kBoth>},
                                   {"lstrip", strip_method<Side::kLeft>},
                                   {"rstrip", strip_method<Side::kRight>},
                                   {"split", split_method<false>},
                                   {"rsplit", split_method<true>},
                                   {"splitlines", splitlines},
                                   {"partition", partition<false>},
                                   {"rpartition", partition<true>},
                                   {"join", join},
                                   {"replace", replace},
                                   {"find", find<Search::kFind, false>},
                                   {"rfind", find<Search::kFind, true>},
                                   {"index", find<Search::kIndex, false>},
                                   {"rindex", find<Search::kIndex, true>},
                                   {"count", count},
                                   {"startswith", starts<false>},
                                   {"endswith", starts<true>},
                                   {"removeprefix", remove_end<false>},
                                   {"removesuffix", remove_end<true>},
                                   {"upper", changed<upper>},
                                   {"lower", changed<lower>},
                                   {"title", changed<title>},
                                   {"capitalize", changed<capitalize>},
                                   {"swapcase", changed<swap_case>},
                                   {"isalpha", all_are<is_letter>},
                                   {"isdigit", all_are<digit>},
                                   {"isdecimal", all_are<is_decimal>},
                                   {"isnumeric", all_are<is_numeric>},
                                   {"isalnum", all_are<letter_or_number>},
                                   {"isspace", all_are<python_space>},
                                   {"isupper", isupper},
                                   {"islower", islower},
                                   {"ljust", justify<Align::kLeft>},
                                   {"rjust", justify<Align::kRight>},
                                   {"center", justify<Align::kCenter>},
                                   {"zfill", zfill},
                                   {"format", format}};
constexpr MethodEntry kOfList[] = {{"index", list_index}, {"count", list_count}, {"copy", copy}};
constexpr MethodEntry kOfDict[] = {{"get", dict_get},
                                   {"items", view<Kind::kItems>},
                                   {"keys", view<Kind::kKeys>},
                                   {"values", view<Kind::kValues>},
                                   {"copy", copy}};
constexpr MethodEntry kOfLoop[] = {{"cycle", cycle}, {"changed", loop_changed}};

const MethodEntry* in(std::span<const MethodEntry> table, std::string_view name) {
  const auto at = std::find_if(table.begin(), table.end(), [&](const MethodEntry& e) { return e.name == name; });
  return at == table.end() ? nullptr : &*at;
}

}  // namespace

const MethodEntry* find_method(const Value& self, std::string_view name) {
  if (self.as_text()) return in(kOfText, name);
  if (self.as_dict()) return in(kOfDict, name);
  if (self.as_loop()) return in(kOfLoop, name);
  const auto* s = self.as_sequence();
  if (!s || !s->indexable() || (name == "copy" && s->kind != Kind::kList)) return nullptr;
  return in(kOfList, name);
}

bool mutates(const Value& self, std::string_view name) {
  constexpr std::array<std::string_view, 8> kList = {"append", "clear",  "reverse", "insert",
                                                     "sort",   "extend", "remove",  "pop"};
  constexpr std::array<std::string_view, 5> kDict = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto has = [&](const auto& names) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (self.as_dict()) return has(kDict);
  return self.as_sequence() && self.as_sequence()->kind == Kind::kList && has(kList);
}

}  // namespace cairn::text::jinja
