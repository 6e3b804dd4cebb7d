// GPT-2's way to write any byte as a printable character, so that vocabularies can be text.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::text {

// 'A' -> "A", ' ' -> "Ġ" (U+0120): every byte as one code point.
void append_byte_level(std::string& out, std::string_view bytes);
// The bytes behind such a text; nothing when a code point stands for no byte.
std::optional<std::string> from_byte_level(std::string_view text);

}  // namespace cairn::text
