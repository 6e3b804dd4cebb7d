// What the parts of the JSON schema compiler share.
#pragma once
#include <string>

#include "base/json.h"
#include "base/result.h"

namespace cairn::text::grammar {

tl::unexpected<Error> schema_error(const std::string& path, const std::string& what);
tl::unexpected<Error> not_supported(const std::string& path, const std::string& what);
// Equality as JSON schema has it: 1 equals 1.0, and the order of members does not matter.
bool same_value(const Json& a, const Json& b);

}  // namespace cairn::text::grammar
