// YAML as a Json value: the subset that configuration files use (maps, lists, scalars; aliases are expanded).
#pragma once
#include <string>
#include <string_view>

#include "base/json.h"

namespace cairn {

// Errors give line and column. Documents that expand to more than 100,000 nodes are refused.
Result<Json> parse_yaml(std::string_view text);
Result<Json> read_yaml(const std::string& path);

}  // namespace cairn
