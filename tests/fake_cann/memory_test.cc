// Memory, streams and events of the real torch_npu on the fake runtime.
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <acl/acl.h>
#include <gtest/gtest.h>
#include <torch_npu/csrc/core/npu/NPUEvent.h>
#include <torch_npu/csrc/core/npu/NPUFunctions.h>
#include <torch_npu/csrc/core/npu/NPUGuard.h>

#include <chrono>
#include <thread>

#include "bed.h"

namespace fake {
namespace {
const at::Tensor& numbers() {
  static const at::Tensor all = at::arange(1 << 20, at::kFloat);
  return all;
}

TEST(Memory, GoesToTheDeviceAndBack) {
  EXPECT_EQ(c10_npu::device_count(), 2);
  EXPECT_EQ(room({4}).toString(), "npuFloatType");
  EXPECT_TRUE(numbers().to(kNpu).cpu().equal(numbers()));
  EXPECT_TRUE(numbers().to(kNpu).to(at::Device(at::kPrivateUse1, 1)).cpu().equal(numbers()));
}
TEST(Memory, IsNotZeroedAndIsReused) {
  EXPECT_FALSE(room({1 << 16}).cpu().equal(at::zeros({1 << 16})));
  void* first = room({1000}).data_ptr();
  EXPECT_EQ(room({1000}).data_ptr(), first);
}
TEST(Memory, RunsOut) {
  EXPECT_THROW(room({int64_t{1} << 40}, at::kByte), c10::OutOfMemoryError);
  EXPECT_TRUE(numbers().to(kNpu).cpu().equal(numbers()));  // and works afterwards
}
TEST(Memory, CopyKindsAreChecked) {
  const auto x = room({4});
  float host[4] = {};
  const auto rules = get("rules");
  EXPECT_NE(aclrtMemcpy(host, 16, x.data_ptr(), 16, ACL_MEMCPY_HOST_TO_DEVICE), ACL_SUCCESS);
  EXPECT_NE(aclrtMemcpy(x.data_ptr(), 8, host, 16, ACL_MEMCPY_HOST_TO_DEVICE), ACL_SUCCESS);
  EXPECT_EQ(get("rules"), rules + 2);
  EXPECT_NE(std::string(aclGetRecentErrMsg()).find("a copy fits its destination"), std::string::npos);
  EXPECT_EQ(aclrtPeekAtLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtGetLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtGetLastError(ACL_RT_THREAD_LEVEL), ACL_SUCCESS);
}
TEST(Memory, FreedBeforeItsTaskRunsIsARule) {
  void *from = nullptr, *to = nullptr;
  ASSERT_EQ(aclrtMalloc(&from, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  ASSERT_EQ(aclrtMalloc(&to, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  set("hang_stream", "1");
  ASSERT_EQ(aclrtMemcpyAsync(to, 64, from, 64, ACL_MEMCPY_DEVICE_TO_DEVICE, stream), ACL_SUCCESS);
  ASSERT_EQ(aclrtFree(from), ACL_SUCCESS);
  set("hang_stream", "0");
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_ERROR_RT_DEVICE_MEM_ERROR);
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
  EXPECT_EQ(aclrtFree(to), ACL_SUCCESS);
  EXPECT_NE(aclrtFree(to), ACL_SUCCESS);
  set("clear", "");
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
}

TEST(Event, OrdersTwoStreams) {
  const auto pinned = numbers().pin_memory();
  const auto copy_stream = c10_npu::getStreamFromPool(false, 0);
  c10_npu::NPUEvent copied;
  at::Tensor on_device;
  {
    c10_npu::NPUStreamGuard guard(copy_stream);
    on_device = pinned.to(kNpu, /*non_blocking=*/true);
    copied.record(copy_stream);
  }
  copied.block(c10_npu::getCurrentNPUStream());
  EXPECT_TRUE(on_device.add(1).cpu().equal(numbers().add(1)));
}
TEST(Event, LivesUntilItsTasksHaveRun) {
  // torch_npu lets go of its own a while after their work.
  auto events = get("events");
  for (int quiet = 0; quiet < 100; ++quiet, std::this_thread::sleep_for(std::chrono::milliseconds(1)))
    if (const auto now = get("events"); now != events) events = now, quiet = 0;
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  aclrtEvent event = nullptr;
  ASSERT_EQ(aclrtCreateEventExWithFlag(&event, ACL_EVENT_SYNC), ACL_SUCCESS);
  set("hang_stream", "1");
  EXPECT_EQ(aclrtRecordEvent(event, stream), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
  EXPECT_EQ(get("events"), events + 1);
  set("hang_stream", "0");
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
  // Its last task may let go of it a moment after it has run.
  for (int i = 0; i < 1000 && get("events") != events; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(get("events"), events);
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
}
TEST(Event, ExternalIsRecordedBeforeItIsWaitedFor) {
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  aclrtEvent event = nullptr;
  ASSERT_EQ(aclrtCreateEventWithFlag(&event, ACL_EVENT_EXTERNAL), ACL_SUCCESS);
  EXPECT_NE(aclrtStreamWaitEvent(stream, event), ACL_SUCCESS);
  EXPECT_EQ(aclrtRecordEvent(event, stream), ACL_SUCCESS);
  EXPECT_EQ(aclrtStreamWaitEvent(stream, event), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
}
TEST(Stream, OnlySoManyFitADevice) {
  const auto streams = get("streams");
  set("streams", std::to_string(streams + 2 + 1));  // two belong to the device itself
  aclrtStream first = nullptr, second = nullptr;
  EXPECT_EQ(aclrtCreateStream(&first), ACL_SUCCESS);
  EXPECT_EQ(aclrtCreateStream(&second), ACL_ERROR_RT_NO_STREAM_RESOURCE);
  EXPECT_EQ(aclrtDestroyStream(first), ACL_SUCCESS);
  EXPECT_EQ(aclrtCreateStream(&second), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(second), ACL_SUCCESS);
  set("streams", "0");
  EXPECT_EQ(get("streams"), streams);
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
}
}  // namespace
}  // namespace fake
