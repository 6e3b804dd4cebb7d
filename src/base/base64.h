// Bytes as text, RFC 4648's base64.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace cairn {

// With padding, without line breaks.
std::string base64(std::string_view bytes);
// The standard alphabet; padding may be missing at the end, line breaks are skipped. An error names the place.
Result<std::string> from_base64(std::string_view text);

}  // namespace cairn
