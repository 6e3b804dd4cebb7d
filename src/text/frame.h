// What the post-processor puts around the tokens of a text.
#pragma once
#include <cstdint>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace cairn::text {

struct Frame {
  std::vector<int64_t> before, after;
  size_t size() const { return before.size() + after.size(); }
};

// The entry "post_processor" for a single text; null gives an empty frame.
Result<Frame> parse_frame(const Json* j);

}  // namespace cairn::text
