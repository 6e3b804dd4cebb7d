// String literals of a template.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace cairn::text::jinja {

// What the inside of a quoted literal stands for, with Python's escapes; nothing when an escape is broken or names a
// surrogate or a character by its Unicode name.
std::optional<std::string> unescaped(std::string_view literal);

}  // namespace cairn::text::jinja
