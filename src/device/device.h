// What there is to compute on. A device is named by c10::Device: the processor, or an accelerator that libtorch drives
// (CUDA, or an Ascend NPU through torch_npu) and that this program only speaks to through libtorch's neutral
// interfaces.
#pragma once
#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace cairn::device {

// "cpu", "cuda", "npu", or "cuda:1". An accelerator's libraries are opened at the first call, and the calling thread
// works on that device from then on. Errors say what is missing, or how many devices there are.
Result<c10::Device> open(const std::string& name);

// Waits until the device has done all that was asked of it. Throws what went wrong there.
void synchronize(c10::Device device);

// Bytes that can be had, and in all. For a processor: the system's memory.
struct Memory {
  int64_t available = 0, total = 0;
};
Memory memory(c10::Device device);

// A queue of an accelerator's work, out of libtorch's pool and never its default one, which cannot be captured; on a
// processor, where work is done when it was asked for, it is nothing. Tensors that were made on another stream may be
// read when that one was waited for.
class Stream {
 public:
  explicit Stream(c10::Device device);
  void synchronize() const;

  // While one lives, this thread's work goes to the stream and its device.
  class Use {
   public:
    explicit Use(const Stream& stream);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    std::optional<c10::Stream> before_;
  };

 private:
  std::optional<c10::Stream> stream_;
};

// What a device computes in when numbers of `dtype` are asked for: a processor has kernels for fp32 and bf16, and takes
// fp16 as fp32. Ascend 310P has no bf16, and takes it as fp16.
Dtype compute_dtype(c10::Device device, Dtype dtype);

// Threads that operations use; 0 is one a core that this process may run on. They have a team of their own, so libtorch
// is left with one thread from then on: its team would spin beside ours for milliseconds after every little copy. Call
// before the first operation. Without a call, as many as libtorch has.
void set_threads(int64_t threads);
int64_t threads();
// The same, bound to processors ("0-7,16"), as many as there are threads, where `bound` is not empty: one of the team
// to each but the first, which is that of whoever has work to share; it, and threads that this one starts, keep to the
// list. Errors: no such list, or processors that this process may not run on.
Result<void> set_threads(int64_t threads, const std::string& bound);
// Binds the calling thread, the team's member of that number, where there is such a list.
void bind_member(int member);

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
