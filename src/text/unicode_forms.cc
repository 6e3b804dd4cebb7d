#include <utf8proc.h>

#include "base/result.h"
#include "text/normalizer.h"
#include "text/recent.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

// Code points that may compose with what stands before them: marks, Hangul vowels and finals, halfwidth voicing marks.
bool joins_previous(char32_t c) {
  return c >= 0x300 &&
         (is_mark(c) || (c >= 0x1160 && c <= 0x11ff) || (c >= 0xd7b0 && c <= 0xd7ff) || (c >= 0xff9e && c <= 0xffdc));
}

size_t chunk_end(std::string_view text, size_t at) {
  const CodePoint first = code_point_at(text, at);
  size_t end = at + first.size;
  if (inert_when_normalizing(first.value)) return end;
  while (end < text.size()) {
    const CodePoint next = code_point_at(text, end);
    if (!joins_previous(next.value) || inert_when_normalizing(next.value)) break;
    end += next.size;
  }
  return end;
}

}  // namespace

void apply_form(Buffer& buffer, Form form) {
  const std::string_view text = buffer.text;
  const bool compose = form == Form::kNfc || form == Form::kNfkc;
  const bool compatible = form == Form::kNfkc || form == Form::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(
      UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compatible ? UTF8PROC_COMPAT : 0));
  size_t first = 0;
  while (first < text.size() && static_cast<uint8_t>(text[first]) < 0x80) ++first;
  if (first == text.size()) return;  // ASCII is in every form already

  Rewriter out(buffer);
  std::vector<utf8proc_int32_t> points(16);
  for (size_t at = 0, end; at < text.size(); at = end) {
    end = chunk_end(text, at);
    if (end == at + 1 || inert_when_normalizing(code_point_at(text, at).value)) {
      out.keep(at, end);
      continue;
    }
    const auto decompose = [&] {
      return utf8proc_decompose(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                static_cast<utf8proc_ssize_t>(end - at), points.data(),
                                static_cast<utf8proc_ssize_t>(points.size()), options);
    };
    utf8proc_ssize_t n = decompose();
    if (n > static_cast<utf8proc_ssize_t>(points.size())) {
      points.resize(static_cast<size_t>(n));
      n = decompose();
    }
    check(n >= 0, "normalizing valid UTF-8 failed");
    n = utf8proc_normalize_utf32(points.data(), n, options);
    for (utf8proc_ssize_t i = 0; i < n; ++i)
      append_utf8(out.text(), static_cast<char32_t>(points[static_cast<size_t>(i)]));
    out.stand_for(at);
  }
  buffer = out.take();
}

}  // namespace cairn::text
