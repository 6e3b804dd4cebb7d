// Collectives of two ranks, which are two threads with a device each: HCCL's own interface on tensors and streams of
// the real torch_npu, directly and from a graph.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>
#include <hccl/hccl.h>
#include <torch_npu/csrc/core/npu/NPUFunctions.h>
#include <torch_npu/csrc/core/npu/NPUGraph.h>
#include <torch_npu/csrc/core/npu/NPUGuard.h>

#include <thread>

#include "bed.h"

namespace fake {
namespace {
constexpr int64_t kCount = 600000;  // more than the fake exchanges at a time

struct Rank {
  int rank;
  HcclComm comm = nullptr;
  at::Device device{at::kPrivateUse1, static_cast<c10::DeviceIndex>(rank)};
  at::Tensor make(at::IntArrayRef sizes) const { return room(sizes, at::kFloat, device); }
  // Numbers that differ between the ranks.
  at::Tensor numbers(int64_t count) const { return at::arange(count, at::kFloat).add(1000 * rank); }
  aclrtStream stream() const { return c10_npu::getCurrentNPUStream().stream(); }  // drains torch_npu's task queue first
};

template <class Body>
void two_ranks(Body body) {
  HcclRootInfo info;
  ASSERT_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS);
  const auto run = [&](int number) {
    c10_npu::set_device(static_cast<c10::DeviceIndex>(number));
    Rank rank{number};
    ASSERT_EQ(HcclCommInitRootInfo(2, &info, static_cast<uint32_t>(number), &rank.comm), HCCL_SUCCESS);
    body(rank);
    EXPECT_EQ(HcclCommDestroy(rank.comm), HCCL_SUCCESS);
  };
  std::thread other(run, 1);
  run(0);
  other.join();
}
// What both ranks' numbers are.
at::Tensor both(int64_t count) { return at::stack({Rank{0}.numbers(count), Rank{1}.numbers(count)}); }

TEST(Hccl, ReducesAndGathers) {
  two_ranks([](const Rank& r) {
    const auto x = r.numbers(kCount).to(r.device);
    const auto sum = r.make({kCount}), most = r.make({kCount}), part = r.make({kCount / 2}), all = r.make({2, kCount});
    HcclAllReduce(x.data_ptr(), sum.data_ptr(), kCount, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, r.comm, r.stream());
    HcclAllReduce(x.data_ptr(), most.data_ptr(), kCount, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_MAX, r.comm, r.stream());
    HcclAllGather(x.data_ptr(), all.data_ptr(), kCount, HCCL_DATA_TYPE_FP32, r.comm, r.stream());
    HcclReduceScatter(x.data_ptr(), part.data_ptr(), kCount / 2, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, r.comm,
                      r.stream());
    EXPECT_TRUE(sum.cpu().equal(both(kCount).sum(0)));
    EXPECT_TRUE(most.cpu().equal(both(kCount).amax(0)));
    EXPECT_TRUE(all.cpu().equal(both(kCount)));
    EXPECT_TRUE(part.cpu().equal(both(kCount).sum(0).chunk(2)[r.rank]));
  });
}
TEST(Hccl, Exchanges) {
  two_ranks([](const Rank& r) {
    const auto x = r.numbers(kCount).to(r.device), in_place = r.numbers(kCount).to(r.device), all = r.make({kCount});
    HcclBroadcast(in_place.data_ptr(), kCount, HCCL_DATA_TYPE_FP32, 1, r.comm, r.stream());
    HcclAlltoAll(x.data_ptr(), kCount / 2, HCCL_DATA_TYPE_FP32, all.data_ptr(), kCount / 2, HCCL_DATA_TYPE_FP32, r.comm,
                 r.stream());
    EXPECT_TRUE(in_place.cpu().equal(Rank{1}.numbers(kCount)));
    const auto halves = both(kCount).view({2, 2, kCount / 2}).select(1, r.rank);
    EXPECT_TRUE(all.cpu().equal(halves.reshape({kCount})));
    const auto got = r.make({kCount});
    if (r.rank == 0) {
      HcclSend(x.data_ptr(), kCount, HCCL_DATA_TYPE_FP32, 1, r.comm, r.stream());
    } else {
      HcclRecv(got.data_ptr(), kCount, HCCL_DATA_TYPE_FP32, 0, r.comm, r.stream());
      EXPECT_TRUE(got.cpu().equal(Rank{0}.numbers(kCount)));
    }
  });
}
TEST(Hccl, ExchangesUnevenParts) {
  two_ranks([](const Rank& r) {  // rank i has i + 1 numbers for rank 0 and 3 for rank 1
    const uint64_t send[] = {static_cast<uint64_t>(r.rank + 1), 3}, send_at[] = {0, send[0]};
    const uint64_t first = r.rank == 0 ? 1 : 3, second = r.rank == 0 ? 2 : 3;
    const uint64_t recv[] = {first, second}, recv_at[] = {0, first};
    const auto x = r.numbers(5).to(r.device), got = r.make({static_cast<int64_t>(first + second)});
    HcclAlltoAllV(x.data_ptr(), send, send_at, HCCL_DATA_TYPE_FP32, got.data_ptr(), recv, recv_at, HCCL_DATA_TYPE_FP32,
                  r.comm, r.stream());
    const auto zero = Rank{0}.numbers(5), one = Rank{1}.numbers(5);
    const auto want = r.rank == 0 ? at::cat({zero.narrow(0, 0, 1), one.narrow(0, 0, 2)})
                                  : at::cat({zero.narrow(0, 1, 3), one.narrow(0, 2, 3)});
    EXPECT_TRUE(got.cpu().equal(want));
  });
}
TEST(Hccl, IsCapturedInAGraph) {
  two_ranks([](const Rank& r) {
    const auto x = r.numbers(kCount).to(r.device), sum = r.make({kCount});
    const auto stream = c10_npu::getStreamFromPool(false, r.device.index());
    at::Tensor y;
    c10_npu::NPUGraph graph;
    c10_npu::getCurrentNPUStream().synchronize();
    {
      c10_npu::NPUStreamGuard guard(stream);
      graph.capture_begin({0, 0}, ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL);
      HcclAllReduce(x.data_ptr(), sum.data_ptr(), kCount, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, r.comm, r.stream());
      y = sum.add(1);
      graph.capture_end();
    }
    x.fill_(5 + r.rank);
    graph.replay();
    EXPECT_TRUE(y.cpu().eq(12).all().item<bool>());
  });
}
TEST(Hccl, ARankThatNeverComesIsAHangThatIsReported) {
  two_ranks([](const Rank& r) {
    if (r.rank == 1) return;
    set("hang_ms", "100");
    const auto x = r.numbers(8).to(r.device), sum = r.make({8});
    HcclAllReduce(x.data_ptr(), sum.data_ptr(), 8, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, r.comm, r.stream());
    EXPECT_EQ(aclrtSynchronizeStream(r.stream()), ACL_ERROR_RT_WAIT_TIMEOUT);
  });
  set("hang_ms", "20000");
  set("clear", "");
  aclrtGetLastError(ACL_RT_THREAD_LEVEL);
}
TEST(Hccl, DifferentCallsAreReported) {
  const auto rules = get("rules");
  two_ranks([](const Rank& r) {
    const auto x = r.numbers(8).to(r.device), sum = r.make({8});
    HcclAllReduce(x.data_ptr(), sum.data_ptr(), 8 - r.rank, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, r.comm, r.stream());
    EXPECT_ANY_THROW(c10_npu::getCurrentNPUStream().synchronize());
  });
  set("clear", "");
  EXPECT_EQ(get("rules"), rules + 2);
}
}  // namespace
}  // namespace fake
