#include "text/charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr size_t kWholeGrapheme = 5;  // bytes

// The end of the extended grapheme cluster that starts at `at`.
size_t grapheme_end(std::string_view text, size_t at) {
  CodePoint c = code_point_at(text, at);
  size_t end = at + c.size;
  utf8proc_int32_t state = 0;
  while (end < text.size()) {
    const CodePoint next = code_point_at(text, end);
    if (c.value < 0x80 && next.value < 0x80 && c.value != '\r') break;
    if (utf8proc_grapheme_break_stateful(static_cast<int32_t>(c.value), static_cast<int32_t>(next.value), &state))
      break;
    c = next;
    end += c.size;
  }
  return end;
}

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view bytes) {
  Charsmap map;
  uint32_t size = 0;
  if (bytes.size() < sizeof size) return corrupt("precompiled charsmap is too short");
  std::memcpy(&size, bytes.data(), sizeof size);
  bytes.remove_prefix(sizeof size);
  if (size % 4 != 0 || size == 0 || size > bytes.size())
    return corrupt("precompiled charsmap has a trie of an impossible size");
  map.units_.resize(size / 4);
  std::memcpy(map.units_.data(), bytes.data(), size);
  map.replacements_ = bytes.substr(size);
  if (invalid_utf8_at(map.replacements_) != std::string::npos)
    return corrupt("precompiled charsmap holds text that is not UTF-8");
  return map;
}

// The shortest key of the map that `key` starts with. Offsets are checked, for the file may be anything.
std::optional<std::string_view> Charsmap::find(std::string_view key) const {
  const auto offset = [](uint32_t unit) { return size_t{unit >> 10} << ((unit & (1u << 9)) >> 6); };
  size_t node = offset(units_[0]);
  for (const char c : key) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte == 0) return std::nullopt;
    node ^= byte;
    if (node >= units_.size()) return std::nullopt;
    const uint32_t unit = units_[node];
    if ((unit & (1u << 31 | 0xff)) != byte) return std::nullopt;
    node ^= offset(unit);
    if (!(unit >> 8 & 1)) continue;
    if (node >= units_.size()) return std::nullopt;
    const size_t at = units_[node] & 0x7fffffff;
    if (at >= replacements_.size() || (static_cast<uint8_t>(replacements_[at]) & 0xc0) == 0x80) return std::nullopt;
    return std::string_view(replacements_.c_str() + at);
  }
  return std::nullopt;
}

void Charsmap::apply(Buffer& buffer) const {
  Rewriter out(buffer);
  const std::string_view text = buffer.text;
  for (size_t at = 0, end; at < text.size(); at = end) {
    end = grapheme_end(text, at);
    if (end - at <= kWholeGrapheme) {
      if (const auto found = find(text.substr(at, end - at))) {
        out.put(*found, at);
        continue;
      }
    }
    for (size_t i = at; i < end;) {
      const size_t size = code_point_at(text, i).size;
      if (const auto found = find(text.substr(i, size))) {
        out.put(*found, i);
      } else {
        out.keep(i, i + size);
      }
      i += size;
    }
  }
  buffer = out.take();
}

}  // namespace cairn::text
