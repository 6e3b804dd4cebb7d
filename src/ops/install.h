// Everything that speeds up operations.
#pragma once
#include "tensor/tensor.h"

namespace cairn::ops {

// Installs the kernels of every part of the vocabulary, for processors and for the device. Idempotent, cheap; call
// before the first operation.
void install_kernels(c10::Device device = c10::DeviceType::CPU);

}  // namespace cairn::ops
