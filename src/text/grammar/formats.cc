// The values of `format`, as regular expressions that match only valid ones.
#include <array>
#include <utility>

#include "text/grammar/json_parts.h"

namespace cairn::text::grammar {
namespace {

#define CAIRN_DATE                                                                                                  \
  "[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-" \
  "9]|1[0-9]|2[0-8]))"
#define CAIRN_TIME \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define CAIRN_HOST "(?:[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}\\.){0,4}[A-Za-z]{2,20}"

constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kFormats{{
    {"date", "^" CAIRN_DATE "$"},
    {"time", "^" CAIRN_TIME "$"},
    {"date-time", "^" CAIRN_DATE "T" CAIRN_TIME "$"},
    {"duration",
     "^P(?:[1-9][0-9]{0,3}W|[1-9][0-9]{0,3}D(?:T[1-9][0-9]{0,2}H(?:[1-9][0-9]?M(?:[1-9][0-9]?S)?)?)?|T[1-9][0-9]{0,3}["
     "HMS])"
     "$"},
    {"email", "^[A-Za-z0-9](?:[._+-]?[A-Za-z0-9]){0,40}@" CAIRN_HOST "$"},
    {"hostname", "^" CAIRN_HOST "$"},
    {"ipv4", "^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$"},
    {"ipv6", "^(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"uri", "^https?://" CAIRN_HOST "(?::[1-9][0-9]{1,3})?(?:/[A-Za-z0-9._~-]*)*(?:\\?[A-Za-z0-9._~=&-]*)?$"},
}};

}  // namespace

std::optional<std::string_view> format_pattern(std::string_view format) {
  for (const auto& [name, pattern] : kFormats)
    if (name == format) return pattern;
  return std::nullopt;
}

const std::vector<std::string>& known_formats() {
  static const auto names = [] {
    std::vector<std::string> out;
    for (const auto& [name, pattern] : kFormats) out.emplace_back(name);
    return out;
  }();
  return names;
}

}  // namespace cairn::text::grammar
