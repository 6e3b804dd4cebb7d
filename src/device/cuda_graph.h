// CUDA's own graphs, for a libtorch that has none for every accelerator (2.11; 2.13 has). Its at::cuda::CUDAGraph is
// reached by name in libtorch_cuda, which is opened when a device of it is: nothing here is linked or includes CUDA.
#pragma once
#include <memory>

#include "tensor/tensor.h"

namespace cairn::device {

class CudaGraph {
 public:
  explicit CudaGraph(c10::Device device);  // a Failure where there is no such class, or the device is none of CUDA's
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  // Of what this thread does on the current stream; other threads may do what they like.
  void capture_begin(c10::MempoolId_t pool);
  void capture_end();
  void replay();
  c10::MempoolId_t pool();

 private:
  std::shared_ptr<void> graph_;
};

}  // namespace cairn::device
