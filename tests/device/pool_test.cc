#include "device/pool.h"

#include <gmock/gmock.h>
#include <sched.h>

#include <array>
#include <chrono>

#include "device/device.h"

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

std::vector<int> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  std::vector<int> out;
  for (int p = 0; p < CPU_SETSIZE; ++p)
    if (CPU_ISSET(p, &set)) out.push_back(p);
  return out;
}

TEST(Threads, AreBoundToTheProcessorsThatAreNamed) {
  const auto before = allowed_processors();
  if (before.size() < 2) GTEST_SKIP() << "one processor";
  const auto bound = [&](const std::string& list, int64_t threads = 0) {
    const auto ok = set_threads(threads, list);
    return ok ? std::string() : ok.error().what;
  };
  EXPECT_THAT(bound("0-"), testing::HasSubstr("\"0-\" is neither"));
  EXPECT_THAT(bound("x"), testing::HasSubstr("\"x\" is neither"));
  EXPECT_THAT(bound("3-2"), testing::HasSubstr("neither"));
  EXPECT_THAT(bound("1023"), testing::HasSubstr("may not run on processor 1023"));
  const std::string one = std::to_string(before[0]), two = one + "," + std::to_string(before[1]);
  EXPECT_THAT(bound(two + "," + one), testing::HasSubstr("named twice"));
  EXPECT_THAT(bound(two, 3), testing::HasSubstr("names 2 processors for 3 threads"));

  std::thread owner([&] {  // whose list its own threads inherit
    ASSERT_EQ(bound(two), "");
    EXPECT_EQ(threads(), 2);
    EXPECT_THAT(allowed_processors(), testing::ElementsAre(before[0], before[1]));
    struct Seen {
      std::thread::id caller = std::this_thread::get_id();
      std::vector<int> others;
    } seen;
    const auto look = [](void* context, int part) {
      auto& s = *static_cast<Seen*>(context);
      std::this_thread::sleep_for(std::chrono::milliseconds(part == 0 ? 20 : 0));
      if (std::this_thread::get_id() != s.caller) s.others = allowed_processors();
    };
    Pool::instance().offer(1, look, &seen);  // so that the team is a new one
    for (int i = 0; i < 100 && seen.others.empty(); ++i) Pool::instance().offer(2, look, &seen);
    EXPECT_THAT(seen.others, testing::ElementsAre(before[1]));
  });
  owner.join();
  set_threads(0);
}

}  // namespace
}  // namespace cairn::device
