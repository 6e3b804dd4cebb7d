#include "device/pool.h"

#include <gmock/gmock.h>

#include <array>
#include <chrono>

namespace cairn::device {
namespace {

struct Sums {
  std::vector<int64_t> parts;
  std::atomic<int> wrong{0};
  int count = 0;
};

// Each worker writes its part, waits for the others, and checks theirs.
void check_each_other(void* context, int worker) {
  auto& s = *static_cast<Sums*>(context);
  ++s.parts[static_cast<size_t>(worker)];
  Pool::instance().barrier(worker, s.count);
  for (const int64_t p : s.parts)
    if (p != s.parts[static_cast<size_t>(worker)]) ++s.wrong;
  Pool::instance().barrier(worker, s.count);
}

TEST(Pool, EveryWorkerSeesWhatTheOthersDidBeforeABarrier) {
  for (const int count : {2, 3, 2}) {
    Sums s;
    s.parts.assign(static_cast<size_t>(count), 0);
    s.count = count;
    for (int i = 0; i < 2000; ++i) ASSERT_TRUE(Pool::instance().run(count, true, check_each_other, &s));
    EXPECT_EQ(s.wrong, 0);
    EXPECT_EQ(s.parts[0], 2000);
  }
}

TEST(Pool, SleepersAreWaitedForByThePatientOnly) {
  Sums s;
  s.parts.assign(2, 0);
  s.count = 2;
  ASSERT_TRUE(Pool::instance().run(2, true, check_each_other, &s));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // far beyond the time that workers spin
  EXPECT_FALSE(Pool::instance().run(2, false, check_each_other, &s));
  ASSERT_TRUE(Pool::instance().run(2, true, check_each_other, &s));
  EXPECT_EQ(s.parts[1], 2);
}

TEST(Pool, OnlyOneThreadHasTheTeamAtATime) {
  std::atomic<int> solo{0}, together{0}, broken{0};
  const auto caller = [&] {
    for (int i = 0; i < 500; ++i) {
      Sums s;
      s.parts.assign(2, 0);
      s.count = 2;
      if (Pool::instance().run(2, true, check_each_other, &s)) {
        ++together;
        broken += s.wrong + (s.parts[1] != 1);
      } else {
        ++solo;
      }
    }
  };
  std::thread other(caller);
  caller();
  other.join();
  EXPECT_EQ(broken, 0);
  EXPECT_EQ(solo + together, 1000);
  EXPECT_GT(together, 0);
}

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
    if (i % 1000 == 0) {  // both ways of working together, in turns
      Sums s;
      s.parts.assign(3, 0);
      s.count = 3;
      ASSERT_TRUE(Pool::instance().run(3, true, check_each_other, &s));
      ASSERT_EQ(s.wrong, 0);
    }
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
