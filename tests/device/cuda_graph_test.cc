#include "device/cuda_graph.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "base/result.h"

namespace cairn::device {
namespace {

const c10::Device kCuda(c10::DeviceType::CUDA, 0);

// One test, for what is found is kept: first there is no such class, then there is one.
TEST(CudaGraph, TheClassOfLibtorchIsReachedByName) {
  EXPECT_THROW(CudaGraph{kCuda}, Failure);
  void* library = ::dlopen(CAIRN_FAKE_CUDA_GRAPH, RTLD_NOW | RTLD_GLOBAL);
  ASSERT_TRUE(library) << ::dlerror();
  const auto log_of = reinterpret_cast<std::string* (*)()>(::dlsym(library, "fake_cuda_graph_log"));
  ASSERT_TRUE(log_of);
  EXPECT_THROW(CudaGraph{c10::Device(c10::DeviceType::CPU)}, Failure);
  {
    CudaGraph graph(kCuda);
    EXPECT_THROW(graph.capture_begin({666, 0}), std::string);
    graph.capture_begin({3, 4});
    graph.capture_end();
    EXPECT_EQ(graph.pool(), (c10::MempoolId_t{10, 13}));
    graph.replay();
    graph.replay();
  }
  EXPECT_EQ(*log_of(), "made begin 3,4 alone end replay replay gone ");
}

}  // namespace
}  // namespace cairn::device
