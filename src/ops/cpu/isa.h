// Which instruction set the kernels use.
#pragma once
#include <vector>

#include "base/result.h"
#include "ops/cpu/kernels.h"

namespace cairn::ops::cpu {

// The instruction sets that this program has kernels for and this processor runs, best first.
std::vector<std::string_view> usable_isas();

// Uses the kernels of one of them from now on, in all threads. Weights stay valid: all sets read the same packed
// form. For tests; operations in progress finish on the set that they began with.
Result<void> use_isa(std::string_view name);

}  // namespace cairn::ops::cpu
