// What the rendering of a template may cost.
#pragma once
#include <cstddef>
#include <cstdint>

namespace cairn::text {

struct RenderLimits {
  size_t most_output = size_t{16} << 20;  // bytes of the result, and of any text on the way
  size_t most_bytes = size_t{256} << 20;  // of all texts and lists made on the way
  int64_t most_steps = 10'000'000;        // expressions and iterations
  int most_depth = 400;                   // expressions, blocks and macro calls inside each other
};

}  // namespace cairn::text
