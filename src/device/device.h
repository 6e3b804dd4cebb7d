// The machine's processors, and what they have left.
#pragma once
#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace cairn::device {

// "cpu" is what there is so far; anything else is an error that says so.
Result<c10::Device> open(const std::string& name);

// What a device computes in when numbers of `dtype` are asked for: a processor has kernels for fp32 and bf16, and takes
// fp16 as fp32.
Dtype compute_dtype(c10::Device device, Dtype dtype);

// Threads that operations use; 0 is one a core that this process may run on. They have a team of their own, so libtorch
// is left with one thread from then on: its team would spin beside ours for milliseconds after every little copy. Call
// before the first operation. Without a call, as many as libtorch has.
void set_threads(int64_t threads);
int64_t threads();

// While it lives, this thread's calls of libtorch use threads() threads: for work that is libtorch's alone.
class LibtorchThreads {
 public:
  LibtorchThreads();
  ~LibtorchThreads();
  LibtorchThreads(const LibtorchThreads&) = delete;
  LibtorchThreads& operator=(const LibtorchThreads&) = delete;

 private:
  int before_;
};

// Bytes of the largest cache; a usual size where the system does not say.
int64_t last_level_cache();

// The most memory that this process has held, in bytes: resident set, mapped weights that were read included.
int64_t peak_memory();

}  // namespace cairn::device
