// Built in place of the bindings where there is no nvcc, or a libtorch without CUDA: references do all work there.
#include "ops/cuda/install.h"

namespace cairn::ops {

void install_cuda() {}

}  // namespace cairn::ops
