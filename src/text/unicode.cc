#include "text/unicode.h"

#include <utf8proc.h>

#include "text/recent.h"

namespace cairn::text {
namespace {

uint8_t byte_at(std::string_view s, size_t i) { return static_cast<uint8_t>(s[i]); }

// How many bytes at `at` could begin or be a code point, and whether they are a whole one (Unicode table 3-7).
struct Part {
  size_t size;
  bool whole;
};
Part part_at(std::string_view s, size_t at) {
  const uint8_t lead = byte_at(s, at);
  if (lead < 0x80) return {1, true};
  const size_t want = lead >= 0xc2 && lead < 0xe0   ? 2
                      : lead >= 0xe0 && lead < 0xf0 ? 3
                      : lead >= 0xf0 && lead < 0xf5 ? 4
                                                    : 0;
  if (want == 0) return {1, false};
  for (size_t k = 1; k < want; ++k) {
    uint8_t least = 0x80, most = 0xbf;
    if (k == 1) {
      if (lead == 0xe0) least = 0xa0;
      if (lead == 0xed) most = 0x9f;  // no surrogates
      if (lead == 0xf0) least = 0x90;
      if (lead == 0xf4) most = 0x8f;
    }
    if (at + k >= s.size() || byte_at(s, at + k) < least || byte_at(s, at + k) > most) return {k, false};
  }
  return {want, true};
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

}  // namespace

CodePoint code_point_at(std::string_view text, size_t at) {
  const uint32_t a = byte_at(text, at);
  if (a < 0x80) return {a, 1};
  const auto next = [&](size_t k) { return static_cast<char32_t>(byte_at(text, at + k) & 0x3f); };
  if (a < 0xe0) return {(a & 0x1f) << 6 | next(1), 2};
  if (a < 0xf0) return {(a & 0x0f) << 12 | next(1) << 6 | next(2), 3};
  return {(a & 0x07) << 18 | next(1) << 12 | next(2) << 6 | next(3), 4};
}

size_t previous_code_point(std::string_view text, size_t at) {
  do --at;
  while (at > 0 && (byte_at(text, at) & 0xc0) == 0x80);
  return at;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t v) { out += static_cast<char>(v); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  }
}

size_t invalid_utf8_at(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Part p = part_at(text, i);
    if (!p.whole) return i;
    i += p.size;
  }
  return std::string_view::npos;
}

std::string repair_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const Part p = part_at(bytes, i);
    if (p.whole) {
      out += bytes.substr(i, p.size);
    } else {
      append_utf8(out, 0xfffd);
    }
    i += p.size;
  }
  return out;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_word(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  // Other_Alphabetic symbols (circled and squared letters) and Join_Control.
  return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
         (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

bool is_numeric(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c > 32 && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 127);
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_mark(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

bool is_nonspacing_mark(char32_t c) { return category(c) == UTF8PROC_CATEGORY_MN; }

bool is_control(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO ||
         k == UTF8PROC_CATEGORY_CS || k == UTF8PROC_CATEGORY_CN;
}

void append_lower(std::string& out, char32_t c) {
  if (c == 0x130) {  // the one code point whose lower case is two
    out += "i\xcc\x87";
  } else if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else {
    append_utf8(out, recent_lower(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)))));
  }
}

}  // namespace cairn::text
