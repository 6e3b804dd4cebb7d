// Where the reference's Unicode versions and ours differ. The tokenizers library (0.23) classifies by Unicode 16,
// changes case by Unicode 17 and normalizes by Unicode 9; PCRE2 10.42 knows Unicode 14 and utf8proc 2.8 knows 15. Newer
// libraries agree with these tables, so nothing here depends on the versions.
#pragma once
#include <span>

namespace cairn::text {

struct RecentRange {
  char32_t first, last;
  const char* category;  // general category, "Lu"
};
// Code points assigned from Unicode 15 to 16 (and one whose category changed), in order.
std::span<const RecentRange> recent_ranges();

// Code points that normalization must leave as they are, like unassigned ones: not decomposed, not reordered.
bool inert_when_normalizing(char32_t c);

// The lower case of letters that utf8proc does not know; other code points come back unchanged.
char32_t recent_lower(char32_t c);

}  // namespace cairn::text
