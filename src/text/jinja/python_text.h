// Python's methods of str on UTF-8: indices and lengths count code points, white space and case are Unicode's.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::text::jinja {

bool python_space(char32_t c);  // str.isspace: White_Space and the separators U+001C to U+001F

std::string upper(std::string_view s);
std::string lower(std::string_view s);
std::string capitalize(std::string_view s);  // the first letter in title case, the rest in lower case
std::string title(std::string_view s);       // str.title: every run of letters capitalized
std::string swap_case(std::string_view s);
bool has_upper(char32_t c);  // is an upper or title case letter
bool has_lower(char32_t c);
bool is_letter(char32_t c);
bool is_decimal(char32_t c);
bool printable(char32_t c);  // false for what repr escapes

size_t length(std::string_view s);
// Where the code point of that number starts; the size when there are fewer.
size_t offset_of(std::string_view s, size_t number);

enum class Side { kLeft, kRight, kBoth };
// Without `chars`, white space.
std::string_view strip(std::string_view s, Side side, std::optional<std::string_view> chars = {});
// Without a separator, at runs of white space. At most `most` cuts unless it is negative.
std::vector<std::string_view> split(std::string_view s, std::optional<std::string_view> separator, int64_t most);
std::vector<std::string_view> split_right(std::string_view s, std::optional<std::string_view> separator, int64_t most);
std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends);
// repr(): in quotes, with escapes.
std::string quoted(std::string_view s);

}  // namespace cairn::text::jinja
