#include "device/pool.h"

#include <gmock/gmock.h>

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

}  // namespace
}  // namespace cairn::device
