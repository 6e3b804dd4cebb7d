// Everything that speeds up operations on this machine's processors.
#pragma once

namespace cairn::ops {

// Installs the kernels of every part of the vocabulary. Idempotent, cheap; call before the first operation.
void install_kernels();

}  // namespace cairn::ops
