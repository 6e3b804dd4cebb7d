// Step masks: which steps of a request are computed (1) and which may be skipped (0), chosen beforehand.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::diffusion {

using Mask = std::vector<int64_t>;

// cache-dit's masks: policy slow, medium, fast or ultra, or its first letter. They are hand-made for 28 steps and for
// short runs, and stretched or cut for other lengths, with odd results here and there (16 steps of `ultra` compute
// three). Errors: an unknown policy, and under 8 steps anything but 4 and 6.
Result<Mask> named_mask(std::string_view policy, int64_t steps);

// compute[0] ones, cached[0] zeros, compute[1] ones, … cut to `steps` when that is above 0. Errors: negative lengths,
// or fewer than `steps` entries.
Result<Mask> binned_mask(const std::vector<int64_t>& compute, const std::vector<int64_t>& cached, int64_t steps = 0);

}  // namespace cairn::diffusion
