// NPUGraph of the real torch_npu on the fake runtime: capture, replay, task groups, and what a capture forbids.
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <acl/acl.h>
#include <gtest/gtest.h>
#include <torch_npu/csrc/core/npu/NPUEvent.h>
#include <torch_npu/csrc/core/npu/NPUFunctions.h>
#include <torch_npu/csrc/core/npu/NPUGraph.h>
#include <torch_npu/csrc/core/npu/NPUGuard.h>

#include <thread>

#include "bed.h"

namespace fake {
namespace {
// Attention of one sequence, two query heads and one key head of 128, with a cache in blocks of 128: its key length is
// a host value, so a graph holds it in a task group that is updated for every replay.
struct Decode {
  static at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes).to(at::kHalf).to(kNpu); }
  at::Tensor query = random({1, 2, 128}), key = random({4, 128, 128}), value = random({4, 128, 128}),
             table = at::tensor({2, 1, 3}, at::kInt).view({1, 3}).to(kNpu), workspace = room({1 << 20}, at::kByte),
             out = room({1, 2, 128}, at::kHalf), lse = room({1});

  void operator()(int64_t keys) {
    npu_call("npu::npu_fused_infer_attention_score", "out",
             {{"query", query},
              {"key", key},
              {"value", value},
              {"block_table", table},
              {"actual_seq_lengths", std::vector<int64_t>{1}},
              {"actual_seq_lengths_kv", std::vector<int64_t>{keys}},
              {"num_heads", 2},
              {"num_key_value_heads", 1},
              {"scale", 0.1},
              {"block_size", 128},
              {"input_layout", "TND"},
              {"workspace", workspace},
              {"out", std::vector<at::Tensor>{out, lse}}});
  }
  bool matches(int64_t keys) const {
    const auto rows = [&](const at::Tensor& cache) {
      const auto blocks = cache.cpu().to(at::kFloat).index_select(0, table.cpu().flatten());
      return blocks.view({-1, 128}).narrow(0, 0, keys);
    };
    const auto weights = at::matmul(query.cpu().to(at::kFloat)[0], rows(key).t()).mul(0.1).softmax(-1);
    return out.cpu().to(at::kFloat)[0].allclose(at::matmul(weights, rows(value)), 1e-2, 1e-2);
  }
};

// A graph that waits for an external event before its attention.
struct UpdatedGraph {
  Decode decode;
  c10_npu::NPUStream stream = c10_npu::getStreamFromPool(false, 0),
                     update_stream = c10_npu::getStreamFromPool(false, 0);
  c10_npu::NPUEvent updated{ACL_EVENT_EXTERNAL};
  c10_npu::NPUTaskGroupHandle group;
  c10_npu::NPUGraph graph;

  UpdatedGraph() {
    c10_npu::getCurrentNPUStream().synchronize();
    c10_npu::NPUStreamGuard guard(stream);
    graph.capture_begin();
    updated.block(stream);
    updated.reset(stream);
    c10_npu::graph_task_group_begin(stream);
    decode(1);
    group = c10_npu::graph_task_group_end(stream);
    graph.capture_end();
  }
  void update(int64_t keys) {
    c10_npu::NPUStreamGuard guard(update_stream);
    c10_npu::graph_task_update_begin(update_stream, group);
    decode(keys);
    c10_npu::graph_task_update_end(update_stream);
    updated.record(update_stream);
  }
};

// Captures what `body` does and gives the error of ending the capture.
template <class Body>
aclError captured(aclmdlRICaptureMode mode, Body body) {
  aclrtStream stream = nullptr;
  EXPECT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  EXPECT_EQ(aclmdlRICaptureBegin(stream, mode), ACL_SUCCESS);
  body(stream);
  aclmdlRI model = nullptr;
  const aclError error = aclmdlRICaptureEnd(stream, &model);
  EXPECT_EQ(model ? aclmdlRIDestroy(model) : ACL_SUCCESS, ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
  return error;
}

TEST(Graph, ReplaysOnNewValues) {
  const auto stream = c10_npu::getStreamFromPool(false, 0);
  const auto x = at::full({4, 4}, 1.0f).to(kNpu), w = at::rand({4, 4}), on_device = w.to(kNpu);
  c10_npu::NPUGraph graph;
  at::Tensor y;
  {
    c10_npu::NPUStreamGuard guard(stream);
    graph.capture_begin();
    y = at::mm(x.add(1), on_device);
    graph.capture_end();
  }
  for (float value : {5.0f, -3.0f}) {
    x.copy_(at::full({4, 4}, value));
    graph.replay();
    EXPECT_TRUE(y.cpu().allclose(at::mm(at::full({4, 4}, value + 1), w)));
  }
}
TEST(Graph, HoldsStreamsOfTheDeviceUntilItGoes) {
  const auto streams = get("streams");
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  ASSERT_EQ(aclmdlRICaptureBegin(stream, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL), ACL_SUCCESS);
  aclmdlRI model = nullptr;
  ASSERT_EQ(aclmdlRICaptureEnd(stream, &model), ACL_SUCCESS);
  ASSERT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
  EXPECT_EQ(get("streams"), streams + 1);
  EXPECT_EQ(aclmdlRIDestroy(model), ACL_SUCCESS);
  EXPECT_EQ(get("streams"), streams);
}

TEST(TaskGroup, IsUpdatedForEveryReplay) {
  UpdatedGraph attention;
  for (int64_t keys : {5, 150, 300}) {
    attention.graph.replay();
    attention.update(keys);
    EXPECT_TRUE(attention.decode.matches(keys)) << keys;
  }
}
TEST(TaskGroup, WithoutItsUpdateIsAHangThatIsReported) {
  UpdatedGraph attention;
  attention.graph.replay();
  attention.update(5);
  c10_npu::getCurrentNPUStream().synchronize();
  set("hang_ms", "200");
  attention.graph.replay();
  const aclError error = aclrtSynchronizeStream(c10_npu::getCurrentNPUStream().stream());
  EXPECT_EQ(error, ACL_ERROR_RT_WAIT_TIMEOUT);
  EXPECT_NE(std::string(aclGetRecentErrMsg()).find("its groups were not updated"), std::string::npos);
  set("hang_ms", "20000");
  set("clear", "");
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
}

TEST(Capture, RefusesToSynchronise) {
  const auto stream = c10_npu::getStreamFromPool(false, 0);
  const auto x = at::ones({2}).to(kNpu);
  {
    c10_npu::NPUStreamGuard guard(stream);
    c10_npu::NPUGraph graph;
    graph.capture_begin();
    EXPECT_ANY_THROW(x.add(1).cpu());
    EXPECT_ANY_THROW(graph.capture_end());
  }
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
  EXPECT_TRUE(x.add(1).cpu().equal(at::full({2}, 2.0f)));
}
TEST(Capture, IsInvalidAfterACallThatItsModeForbids) {
  void* memory = nullptr;
  ASSERT_EQ(aclrtMalloc(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  const auto zero = [&] { return aclrtMemset(memory, 64, 0, 64); };
  EXPECT_EQ(captured(ACL_MODEL_RI_CAPTURE_MODE_GLOBAL, [&](aclrtStream) { EXPECT_NE(zero(), ACL_SUCCESS); }),
            ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(captured(ACL_MODEL_RI_CAPTURE_MODE_RELAXED, [&](aclrtStream) { EXPECT_EQ(zero(), ACL_SUCCESS); }),
            ACL_SUCCESS);
  const auto elsewhere = [&](aclError expected) {
    return [&, expected](aclrtStream) { std::thread([&] { EXPECT_EQ(zero(), expected); }).join(); };
  };
  EXPECT_EQ(captured(ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL, elsewhere(ACL_SUCCESS)), ACL_SUCCESS);
  EXPECT_EQ(captured(ACL_MODEL_RI_CAPTURE_MODE_GLOBAL, elsewhere(ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT)),
            ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(captured(ACL_MODEL_RI_CAPTURE_MODE_GLOBAL,
                     [&](aclrtStream) {
                       auto mode = ACL_MODEL_RI_CAPTURE_MODE_RELAXED;  // the thread opts out
                       aclmdlRICaptureThreadExchangeMode(&mode);
                       EXPECT_EQ(zero(), ACL_SUCCESS);
                       aclmdlRICaptureThreadExchangeMode(&mode);
                     }),
            ACL_SUCCESS);
  float host[16] = {};
  EXPECT_EQ(captured(ACL_MODEL_RI_CAPTURE_MODE_GLOBAL,
                     [&](aclrtStream stream) {
                       EXPECT_EQ(aclrtMemcpyAsync(memory, 64, host, 64, ACL_MEMCPY_HOST_TO_DEVICE, stream),
                                 ACL_ERROR_RT_CAPTURE_MODE_BLOCK_ASYNC);
                     }),
            ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(
      captured(ACL_MODEL_RI_CAPTURE_MODE_RELAXED,
               [&](aclrtStream stream) { EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_ERROR_RT_STREAM_CAPTURED); }),
      ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(aclrtFree(memory), ACL_SUCCESS);
}
TEST(Capture, LeavesTheDefaultStreamAlone) {
  EXPECT_EQ(aclmdlRICaptureBegin(nullptr, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL), ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT);
  void* memory = nullptr;
  ASSERT_EQ(aclrtMalloc(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  captured(ACL_MODEL_RI_CAPTURE_MODE_GLOBAL, [&](aclrtStream) {
    EXPECT_EQ(aclrtMemsetAsync(memory, 64, 0, 64, nullptr), ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT);
  });
  EXPECT_EQ(aclrtFree(memory), ACL_SUCCESS);
}
TEST(Capture, JoinsTheStreamsThatItForks) {
  void* memory = nullptr;
  aclrtStream side = nullptr;
  aclrtEvent fork = nullptr, join = nullptr;
  ASSERT_EQ(aclrtMalloc(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateStream(&side), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateEventExWithFlag(&fork, ACL_EVENT_SYNC), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateEventExWithFlag(&join, ACL_EVENT_SYNC), ACL_SUCCESS);
  const auto forked = [&](bool joined) {
    return captured(ACL_MODEL_RI_CAPTURE_MODE_GLOBAL, [&](aclrtStream stream) {
      EXPECT_EQ(aclrtRecordEvent(fork, stream), ACL_SUCCESS);
      EXPECT_EQ(aclrtStreamWaitEvent(side, fork), ACL_SUCCESS);
      EXPECT_EQ(aclrtMemsetAsync(memory, 64, 0, 64, side), ACL_SUCCESS);
      EXPECT_EQ(aclrtRecordEvent(join, side), ACL_SUCCESS);
      EXPECT_EQ(joined ? aclrtStreamWaitEvent(stream, join) : ACL_SUCCESS, ACL_SUCCESS);
    });
  };
  EXPECT_EQ(forked(true), ACL_SUCCESS);
  EXPECT_EQ(forked(false), ACL_ERROR_RT_STREAM_UNJOINED);
  EXPECT_EQ(aclrtSynchronizeEvent(join), ACL_ERROR_RT_EVENT_CAPTURED);
  for (auto event : {fork, join}) EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(side), ACL_SUCCESS);
  EXPECT_EQ(aclrtFree(memory), ACL_SUCCESS);
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
}
}  // namespace
}  // namespace fake
