// Built in place of the bindings where there is no nvcc, or a libtorch without CUDA: references do all work there.
#include <fmt/core.h>

#include "ops/cuda/install.h"

namespace cairn::ops {

void install_cuda() {
  static const int once = [] {
    fmt::print(stderr,
               "note: this build has no kernels for CUDA, only libtorch's operations, which are slower: build "
               "again where there is nvcc\n");
    return 0;
  }();
  (void)once;
}

}  // namespace cairn::ops
