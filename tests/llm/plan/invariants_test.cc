#include "llm/plan/device.h"

namespace cairn::llm {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

// Two requests with a common prefix, of which the second reads the first's blocks, and a plan under way.
struct SchedulerInvariants : testing::Test {
  SchedulerInvariants() {
    for (int i = 0; i < 2; ++i) {
      std::vector<Token> prompt{1, 2, 3, 4, 5, static_cast<Token>(6 + i)};
      EXPECT_TRUE(scheduler.submit({.prompt = prompt, .max_new_tokens = 8}));
      plan = scheduler.plan();
      const auto result = device.run(plan, [](RequestId, Token) { return false; });
      EXPECT_TRUE(scheduler.commit(std::move(plan), result));
    }
    plan = scheduler.plan();
    good = scheduler.snapshot();
    std::sort(good.sequences.begin(), good.sequences.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  }
  std::vector<std::string> broken(const std::function<void(SchedulerSnapshot&)>& change) const {
    SchedulerSnapshot copy = good;
    change(copy);
    return invariants(copy);
  }
  kv::BlockPool pool{16, 2};
  Scheduler scheduler{SchedulerConfig{}, pool};
  Device device{pool};
  StepPlan plan;
  SchedulerSnapshot good;
};

TEST_F(SchedulerInvariants, NameWhatIsBroken) {
  ASSERT_THAT(invariants(good), IsEmpty());
  ASSERT_EQ(good.sequences[0].table[0], good.sequences[1].table[0]);
  const auto names = [&](const std::string& what, const std::function<void(SchedulerSnapshot&)>& change) {
    EXPECT_THAT(broken(change), Contains(HasSubstr(what))) << what;
  };
  names("block 0 counts 9 owners", [](auto& s) { s.pool.owners[0] = 9; });
  names("its table does not begin", [](auto& s) { s.sequences[0].table[0] = 9; });
  names("another one has block", [](auto& s) { s.sequences[0].computed = 0; });
  names("the cache has block", [](auto& s) { s.sequences[0].computed = 0; });
  names("computed tokens in", [](auto& s) { s.sequences[0].blocks.pop_back(), s.sequences[0].blocks.pop_back(); });
  names("planned tokens in", [](auto& s) { s.sequences[0].table.resize(1); });
  names("planned 99", [](auto& s) { s.sequences[0].planned = 99; });
  names("tokens from", [](auto& s) { s.sequences[0].unknown = 3; });
  names("rows in", [](auto& s) { s.sequences[0].pending = 3; });
  names("more tokens than", [](auto& s) { s.sequences[0].max_new = 1; });
  names("it waits, and has", [](auto& s) { s.sequences[0].running = false; });
  names("is taken", [](auto& s) { s.sequences[0].slot = s.sequences[1].slot; });
  names("slot 77", [](auto& s) { s.sequences[0].slot = 77; });
  names("2 requests run, 1 may", [](auto& s) { s.max_running = 1; });
  names("2 requests: 2 run and 1 wait", [](auto& s) { s.waiting = 1; });
  names("the tree counts", [](auto& s) { s.tree.blocks = 77; });
  names("is free twice", [](auto& s) { s.pool.free.push_back(s.pool.free[0]); });
}

TEST_F(SchedulerInvariants, KnowOfOwnersOutside) {
  const kv::BlockRef outside = pool.allocate();
  auto now = scheduler.snapshot();
  EXPECT_THAT(invariants(now), Contains(HasSubstr("counts 1 owners and has 0")));
  now.external.push_back(outside.id());
  EXPECT_THAT(invariants(now), IsEmpty());
}

}  // namespace
}  // namespace cairn::llm
