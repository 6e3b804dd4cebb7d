#pragma once

namespace cairn::ops {

// Installs the kernels of CUDA devices, where this program was built with them. Idempotent, cheap.
void install_cuda();

}  // namespace cairn::ops
