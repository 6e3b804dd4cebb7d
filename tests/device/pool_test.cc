#include "device/pool.h"

#include <gmock/gmock.h>

#include <array>
#include <chrono>

namespace cairn::device {
namespace {

// Parts of offered jobs, each done once.
struct Parts {
  std::array<std::atomic<int>, 3> done{};
  std::atomic<int64_t> by_others{0};
  std::thread::id caller = std::this_thread::get_id();
};
void do_part(void* context, int part) {
  auto& p = *static_cast<Parts*>(context);
  ++p.done[static_cast<size_t>(part)];
  for (std::atomic<int> spun{0}; spun < 300;) ++spun;  // long enough for others to come
  p.by_others += std::this_thread::get_id() != p.caller;
}

TEST(Pool, EveryPartOfAnOfferedJobIsDoneOnceWhenItReturns) {
  int64_t by_others = 0;
  for (int i = 0; i < 20000; ++i) {
    Parts p;
    Pool::instance().offer(3, do_part, &p);
    for (const auto& d : p.done) ASSERT_EQ(d, 1) << i;
    by_others += p.by_others;
  }
  EXPECT_GT(by_others, 0);
}

TEST(Pool, AnOfferedJobWaitsForNoSleeperAndNoOtherCaller) {
  Parts first;
  Pool::instance().offer(3, do_part, &first);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  std::atomic<int> wrong{0};
  const auto caller = [&] {
    for (int i = 0; i < 2000; ++i) {
      Parts p;
      Pool::instance().offer(3, do_part, &p);
      for (const auto& d : p.done) wrong += d != 1;
      if (i % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  std::thread other(caller);
  caller();
  other.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Pool, TeamsOfDifferentSizesFollowEachOther) {
  for (int i = 0; i < 60; ++i) {
    Parts p;
    const int count = 1 + i % 3;
    Pool::instance().offer(count, do_part, &p);
    for (int part = 0; part < 3; ++part) ASSERT_EQ(p.done[static_cast<size_t>(part)], part < count) << i;
  }
}

TEST(Pool, AJobWithinAPartIsDoneByItsOwnThread) {
  const auto outer = [](void* context, int) {
    Parts inner;
    inner.caller = std::this_thread::get_id();
    Pool::instance().offer(3, do_part, &inner);
    *static_cast<std::atomic<int64_t>*>(context) += inner.by_others + 100 * (inner.done[2] == 1);
  };
  std::atomic<int64_t> sum{0};
  Pool::instance().offer(3, outer, &sum);
  EXPECT_EQ(sum, 300);
}

}  // namespace
}  // namespace cairn::device
