// The two tables of filters, and what filters and methods share.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "text/jinja/library.h"

namespace cairn::text::jinja {

std::span<const FilterEntry> text_filters();
std::span<const FilterEntry> list_filters();

// str.replace; a negative count replaces all.
std::string replaced(Run& run, std::string_view s, std::string_view from, std::string_view to, int64_t count);
// str.center
std::string centered(Run& run, std::string_view s, int64_t width, std::string_view fill);

}  // namespace cairn::text::jinja
