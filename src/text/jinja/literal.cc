#include "text/jinja/literal.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

// So many digits of that base, or fewer where `most` allows it; -1 when there are none or one is missing.
int64_t digits(std::string_view s, size_t& at, size_t least, size_t most, int base) {
  int64_t out = 0;
  size_t n = 0;
  while (n < most && at < s.size()) {
    const char c = s[at];
    const int d = c >= '0' && c <= '9'   ? c - '0'
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                         : 99;
    if (d >= base) break;
    out = out * base + d;
    ++at, ++n;
  }
  return n < least ? -1 : out;
}

}  // namespace

std::optional<std::string> unescaped(std::string_view s) {
  constexpr std::string_view kSimple = "\\'\"abfnrtv", kMeaning = "\\'\"\a\b\f\n\r\t\v";
  std::string out;
  for (size_t at = 0; at < s.size();) {
    if (s[at] != '\\' || at + 1 == s.size()) {
      out += s[at++];
      continue;
    }
    const char c = s[++at];
    if (const size_t i = kSimple.find(c); i != std::string_view::npos) {
      out += kMeaning[i], ++at;
    } else if (c == '\n') {
      ++at;
    } else if (c >= '0' && c <= '7') {
      append_utf8(out, static_cast<char32_t>(digits(s, at, 1, 3, 8)));
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const int64_t value = digits(s, ++at, n, n, 16);
      if (value < 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return {};
      append_utf8(out, static_cast<char32_t>(value));
    } else if (c == 'N') {
      return {};  // names of characters
    } else if (static_cast<unsigned char>(c) < 0x80) {
      out += '\\', out += c, ++at;
    } else {  // Python turns the character into an escape first, and the backslash before it escapes that one's own
      const CodePoint p = code_point_at(s, at);
      const auto n = static_cast<uint32_t>(p.value);
      out += n < 0x100     ? fmt::format("\\x{:02x}", n)
             : n < 0x10000 ? fmt::format("\\u{:04x}", n)
                           : fmt::format("\\U{:08x}", n);
      at += p.size;
    }
  }
  return out;
}

}  // namespace cairn::text::jinja
