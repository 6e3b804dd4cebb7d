// Small helpers on text.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string lower_ascii(std::string_view text);
std::string_view trim(std::string_view text);

// The candidate nearest to `word` by edit distance, case and -_ ignored; empty when none is near enough to offer.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);
// ", did you mean X?" or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

bool valid_utf8(std::string_view text);

// "12.3 MiB", "512 B".
std::string human_bytes(double bytes);

}  // namespace cairn
