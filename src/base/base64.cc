#include "base/base64.h"

#include <array>
#include <cstdint>

namespace cairn {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr auto kValues = [] {
  std::array<int8_t, 256> out{};
  for (auto& v : out) v = -1;
  for (size_t i = 0; i < kDigits.size(); ++i) out[static_cast<unsigned char>(kDigits[i])] = static_cast<int8_t>(i);
  return out;
}();

}  // namespace

std::string base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

Result<std::string> from_base64(std::string_view text) {
  const auto broken = [](size_t at) { return invalid("not base64 at character " + std::to_string(at + 1)); };
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  size_t digits = 0, padding = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' || text[i] == '\n') continue;
    if (text[i] == '=') {
      if (digits % 4 + ++padding > 4 || digits % 4 < 2) return broken(i);
      continue;
    }
    const int value = kValues[static_cast<unsigned char>(text[i])];
    if (value < 0 || padding > 0) return broken(i);
    bits = bits << 6 | static_cast<uint32_t>(value);
    ++digits;
    const size_t spare = digits * 6 % 8;  // bits that belong to the next byte
    if (spare < 6) out += static_cast<char>(bits >> spare & 0xff);
  }
  if (digits % 4 == 1 || (padding > 0 && digits % 4 + padding != 4)) return invalid("base64 that breaks off");
  if ((bits & ((1u << (digits * 6 % 8)) - 1)) != 0) return invalid("base64 whose last digit says too much");
  return out;
}

}  // namespace cairn
