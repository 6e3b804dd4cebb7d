// Code points and their properties, as the Rust `tokenizers` library and its regex engines see them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::text {

struct CodePoint {
  char32_t value;
  uint32_t size;  // bytes in UTF-8
};

// The code point that starts at text[at]; the text is valid UTF-8.
CodePoint code_point_at(std::string_view text, size_t at);
// The offset of the code point that ends before `at`; at > 0.
size_t previous_code_point(std::string_view text, size_t at);
void append_utf8(std::string& out, char32_t c);

// The first byte that is no UTF-8, or npos.
size_t invalid_utf8_at(std::string_view text);
// Each maximal broken part becomes one U+FFFD (Unicode chapter 3, as Rust's from_utf8_lossy does).
std::string repair_utf8(std::string_view bytes);

bool is_space(char32_t c);        // White_Space
bool is_word(char32_t c);         // \w: letters, marks, decimal digits, connectors, joiners
bool is_numeric(char32_t c);      // N*
bool is_punctuation(char32_t c);  // ASCII punctuation, or P*
bool is_mark(char32_t c);         // M*
bool is_nonspacing_mark(char32_t c);
bool is_control(char32_t c);  // C*
// Full lower case without context: one code point becomes one or two.
void append_lower(std::string& out, char32_t c);

}  // namespace cairn::text
