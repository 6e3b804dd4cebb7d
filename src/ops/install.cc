#include "ops/install.h"

#include "ops/cache.h"
#include "ops/ops.h"
#include "ops/paged.h"
#include "ops/vision.h"

namespace cairn::ops {

void install_kernels() {
  install_cpu();
  install_cpu_vision();
  install_cpu_cache();
  install_cpu_paged();
}

}  // namespace cairn::ops
