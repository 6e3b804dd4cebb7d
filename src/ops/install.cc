#include "ops/install.h"

#include "ops/cache.h"
#include "ops/cuda/install.h"
#include "ops/ops.h"
#include "ops/paged.h"
#include "ops/vision.h"

namespace cairn::ops {

void install_npu();  // ops/npu/install.cc

void install_kernels(c10::Device device) {
  install_cpu();
  install_cpu_vision();
  install_cpu_cache();
  install_cpu_paged();
  if (device.is_cuda()) install_cuda();
  if (device.is_privateuseone()) install_npu();
}

}  // namespace cairn::ops
