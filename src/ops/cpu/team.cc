#include "ops/cpu/team.h"

#include <ATen/Parallel.h>

#include "device/device.h"

namespace cairn::ops::cpu {
namespace {

// Below this, one thread is faster than waking others.
constexpr int64_t kWorthSharing = 1 << 17;

}  // namespace

int threads_for(int64_t work) {
  return work < kWorthSharing || at::in_parallel_region() ? 1 : static_cast<int>(device::threads());
}

}  // namespace cairn::ops::cpu
