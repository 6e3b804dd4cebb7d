#include "text/jinja/python_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

bool in_set(std::optional<std::string_view> chars, std::string_view point) {
  if (!chars) return python_space(code_point_at(point, 0).value);
  for (size_t at = 0; at < chars->size();) {
    const size_t size = code_point_at(*chars, at).size;
    if (chars->substr(at, size) == point) return true;
    at += size;
  }
  return false;
}

bool line_end(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::vector<std::string_view> words(std::string_view s, int64_t most) {
  std::vector<std::string_view> out;
  for (s = strip(s, Side::kLeft); !s.empty(); s = strip(s, Side::kLeft)) {
    if (most >= 0 && static_cast<int64_t>(out.size()) == most) {
      out.push_back(s);  // the rest keeps the white space at its end
      break;
    }
    size_t end = 0;
    while (end < s.size()) {
      const CodePoint c = code_point_at(s, end);
      if (python_space(c.value)) break;
      end += c.size;
    }
    out.push_back(s.substr(0, end));
    s.remove_prefix(end);
  }
  return out;
}

std::vector<std::string_view> words_right(std::string_view s, int64_t most) {
  std::vector<std::string_view> out;
  for (s = strip(s, Side::kRight); !s.empty(); s = strip(s, Side::kRight)) {
    if (most >= 0 && static_cast<int64_t>(out.size()) == most) {
      out.push_back(s);
      break;
    }
    size_t begin = s.size();
    while (begin > 0) {
      const size_t before = previous_code_point(s, begin);
      if (python_space(code_point_at(s, before).value)) break;
      begin = before;
    }
    out.push_back(s.substr(begin));
    s.remove_suffix(s.size() - begin);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

bool python_space(char32_t c) { return (c >= 0x1c && c <= 0x1f) || is_space(c); }

bool printable(char32_t c) { return c == ' ' || !(is_control(c) || is_space(c)); }

size_t length(std::string_view s) {
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

size_t offset_of(std::string_view s, size_t number) {
  size_t at = 0;
  while (number-- > 0 && at < s.size()) at += code_point_at(s, at).size;
  return at;
}

std::string_view strip(std::string_view s, Side side, std::optional<std::string_view> chars) {
  while (side != Side::kRight && !s.empty()) {
    const size_t size = code_point_at(s, 0).size;
    if (!in_set(chars, s.substr(0, size))) break;
    s.remove_prefix(size);
  }
  while (side != Side::kLeft && !s.empty()) {
    const size_t last = previous_code_point(s, s.size());
    if (!in_set(chars, s.substr(last))) break;
    s.remove_suffix(s.size() - last);
  }
  return s;
}

std::vector<std::string_view> split(std::string_view s, std::optional<std::string_view> separator, int64_t most) {
  if (!separator) return words(s, most);
  std::vector<std::string_view> out;
  size_t at = 0;
  while (most < 0 || static_cast<int64_t>(out.size()) < most) {
    const size_t next = s.find(*separator, at);
    if (next == std::string_view::npos) break;
    out.push_back(s.substr(at, next - at));
    at = next + separator->size();
  }
  out.push_back(s.substr(at));
  return out;
}

std::vector<std::string_view> split_right(std::string_view s, std::optional<std::string_view> separator, int64_t most) {
  if (!separator) return words_right(s, most);
  std::vector<std::string_view> out;
  while (most < 0 || static_cast<int64_t>(out.size()) < most) {
    const size_t next = s.rfind(*separator);
    if (next == std::string_view::npos) break;
    out.push_back(s.substr(next + separator->size()));
    s = s.substr(0, next);
  }
  out.push_back(s);
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends) {
  std::vector<std::string_view> out;
  for (size_t at = 0, begin = 0; at < s.size();) {
    const CodePoint c = code_point_at(s, at);
    const size_t end = at;
    at += c.size;
    if (line_end(c.value)) {
      if (c.value == '\r' && at < s.size() && s[at] == '\n') ++at;
      out.push_back(s.substr(begin, (keep_ends ? at : end) - begin));
      begin = at;
    } else if (at == s.size()) {
      out.push_back(s.substr(begin));
    }
  }
  return out;
}

std::string quoted(std::string_view s) {
  const bool has_single = s.find('\'') != std::string_view::npos, has_double = s.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = code_point_at(s, at);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      out += '\\', out += static_cast<char>(c.value);
    } else if (c.value == '\n' || c.value == '\r' || c.value == '\t') {
      out += c.value == '\n' ? "\\n" : c.value == '\r' ? "\\r" : "\\t";
    } else if (printable(c.value)) {
      out += s.substr(at, c.size);
    } else if (const auto n = static_cast<uint32_t>(c.value); n < 0x100) {
      out += fmt::format("\\x{:02x}", n);
    } else {
      out += n < 0x10000 ? fmt::format("\\u{:04x}", n) : fmt::format("\\U{:08x}", n);
    }
    at += c.size;
  }
  return out += quote;
}

}  // namespace cairn::text::jinja
