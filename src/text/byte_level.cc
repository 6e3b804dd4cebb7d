#include "text/byte_level.h"

#include <array>

#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr size_t kHighest = 0x144;  // code points in use end here

struct Tables {
  std::array<char32_t, 256> point;
  std::array<int16_t, kHighest> byte;
};

// Printable bytes of Latin-1 stand for themselves; the others, in order, for U+0100 and up.
constexpr Tables make_tables() {
  Tables t{};
  for (auto& b : t.byte) b = -1;
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae);
    t.point[b] = printable ? b : next++;
    t.byte[t.point[b]] = static_cast<int16_t>(b);
  }
  return t;
}
constexpr Tables kTables = make_tables();

}  // namespace

void append_byte_level(std::string& out, std::string_view bytes) {
  for (const char c : bytes) append_utf8(out, kTables.point[static_cast<uint8_t>(c)]);
}

std::optional<std::string> from_byte_level(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const int byte = c.value < kHighest ? kTables.byte[c.value] : -1;
    if (byte < 0) return std::nullopt;
    out += static_cast<char>(byte);
    at += c.size;
  }
  return out;
}

}  // namespace cairn::text
