#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

struct Expansion {
  char32_t from;
  std::u32string_view upper;
};
// The code points whose upper case is more than one (Unicode's SpecialCasing.txt), without U+1F80 to U+1FAF.
constexpr Expansion kExpansions[] = {
    {0xdf, U"SS"},
    {0x149, U"\u02bcN"},
    {0x1f0, U"J\u030c"},
    {0x390, U"\u0399\u0308\u0301"},
    {0x3b0, U"\u03a5\u0308\u0301"},
    {0x587, U"\u0535\u0552"},
    {0x1e96, U"H\u0331"},
    {0x1e97, U"T\u0308"},
    {0x1e98, U"W\u030a"},
    {0x1e99, U"Y\u030a"},
    {0x1e9a, U"A\u02be"},
    {0x1f50, U"\u03a5\u0313"},
    {0x1f52, U"\u03a5\u0313\u0300"},
    {0x1f54, U"\u03a5\u0313\u0301"},
    {0x1f56, U"\u03a5\u0313\u0342"},
    {0x1fb2, U"\u1fba\u0399"},
    {0x1fb3, U"\u0391\u0399"},
    {0x1fb4, U"\u0386\u0399"},
    {0x1fb6, U"\u0391\u0342"},
    {0x1fb7, U"\u0391\u0342\u0399"},
    {0x1fbc, U"\u0391\u0399"},
    {0x1fc2, U"\u1fca\u0399"},
    {0x1fc3, U"\u0397\u0399"},
    {0x1fc4, U"\u0389\u0399"},
    {0x1fc6, U"\u0397\u0342"},
    {0x1fc7, U"\u0397\u0342\u0399"},
    {0x1fcc, U"\u0397\u0399"},
    {0x1fd2, U"\u0399\u0308\u0300"},
    {0x1fd3, U"\u0399\u0308\u0301"},
    {0x1fd6, U"\u0399\u0342"},
    {0x1fd7, U"\u0399\u0308\u0342"},
    {0x1fe2, U"\u03a5\u0308\u0300"},
    {0x1fe3, U"\u03a5\u0308\u0301"},
    {0x1fe4, U"\u03a1\u0313"},
    {0x1fe6, U"\u03a5\u0342"},
    {0x1fe7, U"\u03a5\u0308\u0342"},
    {0x1ff2, U"\u1ffa\u0399"},
    {0x1ff3, U"\u03a9\u0399"},
    {0x1ff4, U"\u038f\u0399"},
    {0x1ff6, U"\u03a9\u0342"},
    {0x1ff7, U"\u03a9\u0342\u0399"},
    {0x1ffc, U"\u03a9\u0399"},
    {0xfb00, U"FF"},
    {0xfb01, U"FI"},
    {0xfb02, U"FL"},
    {0xfb03, U"FFI"},
    {0xfb04, U"FFL"},
    {0xfb05, U"ST"},
    {0xfb06, U"ST"},
    {0xfb13, U"\u0544\u0546"},
    {0xfb14, U"\u0544\u0535"},
    {0xfb15, U"\u0544\u053b"},
    {0xfb16, U"\u054e\u0546"},
    {0xfb17, U"\u0544\u053d"},
};

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

std::u32string_view expansion(char32_t c) {
  const auto* at = std::lower_bound(std::begin(kExpansions), std::end(kExpansions), c,
                                    [](const Expansion& e, char32_t v) { return e.from < v; });
  return at != std::end(kExpansions) && at->from == c ? at->upper : std::u32string_view();
}

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  } else if (c >= 0x1f80 && c <= 0x1faf) {  // Greek letters with an iota below, in three rows of sixteen
    constexpr std::array<char32_t, 3> kRows = {0x1f08, 0x1f28, 0x1f68};
    append_utf8(out, kRows[(c - 0x1f80) / 16] + (c & 7));
    append_utf8(out, 0x399);
  } else if (const auto more = expansion(c); !more.empty()) {
    for (const char32_t u : more) append_utf8(out, u);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

void append_title(std::string& out, char32_t c) {
  const auto simple = static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
  const auto more = simple == c ? expansion(c) : std::u32string_view();
  if (more.empty() || has_upper(c)) return append_utf8(out, simple);
  append_utf8(out, more[0]);
  for (const char32_t u : more.substr(1)) u == 0x399 ? append_utf8(out, 0x345) : append_lower(out, u);
}

bool cased(char32_t c) { return has_upper(c) || has_lower(c); }

// What stands between letters without ending a word: marks, format characters, modifiers, apostrophes.
bool ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      break;
  }
  return c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x387 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
         c == 0x2027;
}

// Whether the sigma at `at` ends a word, which decides its lower case.
bool final_sigma(std::string_view s, size_t at) {
  bool before = false;
  for (size_t i = at; i > 0 && !before;) {
    i = previous_code_point(s, i);
    const char32_t c = code_point_at(s, i).value;
    before = cased(c) && !ignorable(c);
    if (!before && !ignorable(c)) break;
  }
  if (!before) return false;
  for (size_t i = at + 2; i < s.size();) {
    const CodePoint c = code_point_at(s, i);
    if (!ignorable(c.value)) return !cased(c.value);
    i += c.size;
  }
  return true;
}

void append_lower_at(std::string& out, std::string_view s, size_t at, char32_t c) {
  if (c == 0x3a3) {
    append_utf8(out, final_sigma(s, at) ? 0x3c2 : 0x3c3);
  } else {
    append_lower(out, c);
  }
}

template <class F>
std::string mapped(std::string_view s, F&& append) {
  std::string out;
  out.reserve(s.size());
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = code_point_at(s, at);
    append(out, at, c.value);
    at += c.size;
  }
  return out;
}

}  // namespace

bool has_upper(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LT;
}
bool has_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }
bool is_letter(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

std::string upper(std::string_view s) {
  return mapped(s, [](std::string& out, size_t, char32_t c) { append_upper(out, c); });
}
std::string lower(std::string_view s) {
  return mapped(s, [&](std::string& out, size_t at, char32_t c) { append_lower_at(out, s, at, c); });
}
std::string capitalize(std::string_view s) {
  return mapped(s, [&](std::string& out, size_t at, char32_t c) {
    at == 0 ? append_title(out, c) : append_lower_at(out, s, at, c);
  });
}
std::string title(std::string_view s) {
  bool inside = false;
  return mapped(s, [&](std::string& out, size_t at, char32_t c) {
    inside ? append_lower_at(out, s, at, c) : append_title(out, c);
    inside = cased(c);
  });
}
std::string swap_case(std::string_view s) {
  return mapped(s, [&](std::string& out, size_t at, char32_t c) {
    if (category(c) == UTF8PROC_CATEGORY_LU)
      append_lower_at(out, s, at, c);
    else if (has_lower(c))
      append_upper(out, c);
    else
      append_utf8(out, c);
  });
}

}  // namespace cairn::text::jinja
