// Injected faults, as a program on torch_npu meets them.
#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <acl/acl.h>
#include <gtest/gtest.h>
#include <torch_npu/csrc/core/npu/NPUCachingAllocator.h>
#include <torch_npu/csrc/core/npu/NPUEvent.h>
#include <torch_npu/csrc/core/npu/NPUStream.h>

#include <cstdlib>

#include "bed.h"

namespace fake {
namespace {
constexpr int64_t kLarge = int64_t{64} << 20;  // bytes that need a segment of their own

class Faults : public testing::Test {
 protected:
  void SetUp() override { c10_npu::NPUCachingAllocator::emptyCache(); }
  void TearDown() override {
    set("clear", "");
    aclrtGetLastError(ACL_RT_THREAD_LEVEL);
    EXPECT_TRUE(at::ones({4}).to(kNpu).add(1).cpu().equal(at::full({4}, 2.0f)));  // the bed works again
  }
};

TEST_F(Faults, OneAllocationFails) {
  Fault fault("oom_after", "1");
  EXPECT_NO_THROW(room({kLarge}, at::kByte));  // torch_npu frees what it caches and tries again
  set("oom_after", "1:2");
  EXPECT_THROW(room({2 * kLarge}, at::kByte), c10::OutOfMemoryError);
  EXPECT_NO_THROW(room({2 * kLarge}, at::kByte));
}
TEST_F(Faults, LargeAllocationsFail) {
  Fault fault("oom_over", std::to_string(kLarge));
  EXPECT_THROW(room({2 * kLarge}, at::kByte), c10::OutOfMemoryError);
  EXPECT_NO_THROW(room({kLarge / 2}, at::kByte));
}
TEST_F(Faults, AnOperatorFailsOnItsStream) {
  const auto x = at::ones({4}).to(kNpu);
  Fault fault("throw_op", "aclnnAdds:2");
  (void)x.add(1);
  at::accelerator::synchronizeDevice(0);
  (void)x.add(1);  // only the synchronisation tells
  EXPECT_ANY_THROW(at::accelerator::synchronizeDevice(0));
  EXPECT_ANY_THROW(x.cpu());  // and every later one,
  aclrtStream other = nullptr;
  ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(other), ACL_ERROR_RT_AICORE_EXCEPTION);  // on every stream of the device
  EXPECT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
}
TEST_F(Faults, AHeldStreamTimesOut) {
  const auto stream = c10_npu::getCurrentNPUStream();
  const auto x = at::ones({4}).to(kNpu);
  c10_npu::NPUEvent event;
  Fault fault("hang_stream", "1");
  const auto y = x.add(1);
  event.record(stream);
  EXPECT_FALSE(event.query());
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(stream.stream(), 50), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  EXPECT_FALSE(stream.query());
  EXPECT_EQ(aclrtSynchronizeDeviceWithTimeout(50), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  set("hang_stream", "0");
  EXPECT_TRUE(y.cpu().equal(at::full({4}, 2.0f)));
  EXPECT_TRUE(event.query());
}
TEST_F(Faults, ADeadDeviceRefusesEverything) {
  const auto x = at::ones({4}).to(kNpu);
  at::accelerator::synchronizeDevice(0);
  Fault fault("sticky", "1");
  EXPECT_ANY_THROW(at::accelerator::synchronizeDevice(0));
  EXPECT_ANY_THROW(x.cpu());
  EXPECT_ANY_THROW(room({kLarge}, at::kByte));
  EXPECT_EQ(aclrtSynchronizeDevice(), ACL_ERROR_RT_AICORE_EXCEPTION);
  EXPECT_EQ(aclrtPeekAtLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_RT_AICORE_EXCEPTION);
}
TEST_F(Faults, AnUnknownSwitchIsRefused) { EXPECT_ANY_THROW(set("no_such_switch", "1")); }

TEST(Delays, ChangeNoResult) {
  set("delay_us", "200r");
  auto x = at::ones({4}).to(kNpu);
  for (int i = 0; i < 20; ++i) x = x.add(1);
  EXPECT_TRUE(x.cpu().equal(at::full({4}, 21.0f)));
  set("delay_us", "0");
}
}  // namespace
}  // namespace fake
