#include "llm/plan/device.h"

namespace cairn::llm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<Token> prompt(int64_t size) {
  std::vector<Token> out;
  for (int64_t i = 0; i < size; ++i) out.push_back(static_cast<Token>(i + 1));
  return out;
}

struct SchedulerTest : testing::Test {
  void open(SchedulerConfig config) {
    config.context_length = 100;
    scheduler = std::make_unique<Scheduler>(config, pool);
  }
  Error refused(Request r) {
    const auto id = scheduler->submit(std::move(r));
    EXPECT_FALSE(id);
    return id ? Error{} : id.error();
  }
  kv::BlockPool pool{8, 4};
  std::unique_ptr<Scheduler> scheduler;
};

TEST_F(SchedulerTest, RefusesWhatCanNeverBeServed) {
  open({});
  EXPECT_THAT(refused({}).what, HasSubstr("empty"));
  EXPECT_THAT(refused({.prompt = {1, -1}}).what, HasSubstr("negative token"));
  EXPECT_THAT(refused({.prompt = prompt(100), .max_new_tokens = 1}).what, HasSubstr("the context 100: shorten"));
  EXPECT_THAT(refused({.prompt = prompt(33), .max_new_tokens = 1}).what, HasSubstr("room for 32: shorten"));
  EXPECT_THAT(refused({.prompt = prompt(20), .max_new_tokens = 90}).what, HasSubstr("lower max_new_tokens to 80"));
  EXPECT_THAT(refused({.prompt = prompt(20), .max_new_tokens = 14}).what, HasSubstr("lower max_new_tokens to 13"));
  EXPECT_THAT(refused({.prompt = prompt(2), .max_new_tokens = -1}).what, HasSubstr("must not be negative"));
  EXPECT_THAT(refused({.prompt = prompt(2), .max_new_tokens = 1, .recompute_from = 3}).what,
              HasSubstr("recompute_from"));
  EXPECT_EQ(refused({}).code, Code::kInvalidArgument);
  EXPECT_EQ(scheduler->waiting(), 0);
}

TEST_F(SchedulerTest, AnAnswerWithoutALimitGetsWhatFits) {
  open({});
  EXPECT_EQ(scheduler->find(*scheduler->submit({.prompt = prompt(20)}))->max_new, 13);
  EXPECT_EQ(scheduler->find(*scheduler->submit({.prompt = prompt(32)}))->max_new, 1);
}

TEST_F(SchedulerTest, AFullQueueIsA503) {
  open({.max_queued_requests = 1});
  EXPECT_TRUE(scheduler->submit({.prompt = prompt(3), .max_new_tokens = 1}));
  const Error e = refused({.prompt = prompt(3), .max_new_tokens = 1});
  EXPECT_EQ(http_status(e.code), 503);
  EXPECT_THAT(e.what, HasSubstr("try again later"));
  EXPECT_EQ(scheduler->stats().refused, 1);
}

TEST_F(SchedulerTest, RefusesOptionsThatMakeNoSense) {
  const auto message = [&](const SchedulerConfig& c) -> std::string {
    try {
      Scheduler{c, pool};
    } catch (const Failure& f) { return f.error().what; }
    return "";
  };
  EXPECT_THAT(message({.chunked_prefill_size = 0}), HasSubstr("-1 for whole prompts"));
  EXPECT_THAT(message({.max_running_requests = 0}), HasSubstr("max_running_requests"));
  EXPECT_THAT(message({.schedule_policy = "best"}), HasSubstr("schedule_policy"));
  EXPECT_THAT(message({.radix_eviction_policy = "none"}), HasSubstr("radix_eviction_policy"));
  EXPECT_EQ(message({}), "");
}

TEST_F(SchedulerTest, HoldsNoMoreThanTwoPlansUnderWay) {
  open({});
  ASSERT_TRUE(scheduler->submit({.prompt = prompt(4), .max_new_tokens = 9}));
  const StepPlan first = scheduler->plan();
  {
    const StepPlan second = scheduler->plan();
    EXPECT_THAT(second.inputs(second.rows[0]), ElementsAre(kLastSampled));
    EXPECT_THAT(second.table(second.rows[0]), ElementsAre(0, 1));
    EXPECT_THROW(scheduler->plan(), Bug);
  }
  EXPECT_FALSE(scheduler->plan().empty());
}

TEST_F(SchedulerTest, DroppingAPlanReturnsItsBlocks) {
  open({});
  const RequestId id = *scheduler->submit({.prompt = prompt(10), .max_new_tokens = 2});
  {
    const StepPlan plan = scheduler->plan();
    EXPECT_EQ(pool.used(), 3);
  }
  EXPECT_EQ(pool.used(), 0);
  EXPECT_EQ(scheduler->find(id)->planned, 0);
  EXPECT_THAT(faults(*scheduler), IsEmpty());
  const StepPlan again = scheduler->plan();
  EXPECT_EQ(again.rows.at(0).to, 10);
}

TEST_F(SchedulerTest, AResultThatDoesNotFitItsPlanIsABug) {
  open({});
  ASSERT_TRUE(scheduler->submit({.prompt = prompt(4), .max_new_tokens = 9}));
  EXPECT_THROW(scheduler->commit(scheduler->plan(), {}), Bug);
  StepResult two;
  two.add(std::vector<Token>{5, 6});
  EXPECT_THROW(scheduler->commit(scheduler->plan(), two), Bug);
  EXPECT_EQ(pool.used(), 0);  // the plan was dropped
  StepPlan older = scheduler->plan(), newer = scheduler->plan();
  StepResult one;
  one.add(std::vector<Token>{5});
  EXPECT_THROW(scheduler->commit(std::move(newer), one), Bug);
  EXPECT_TRUE(scheduler->commit(std::move(older), one));
  EXPECT_THAT(faults(*scheduler), IsEmpty());
}

TEST_F(SchedulerTest, TheCacheIsFlushedOnlyWhenNothingUsesIt) {
  open({});
  const RequestId id = *scheduler->submit({.prompt = prompt(4), .max_new_tokens = 9});
  EXPECT_EQ(scheduler->flush_cache().error().code, Code::kUnavailable);
  EXPECT_TRUE(scheduler->cancel(id));
  EXPECT_TRUE(scheduler->flush_cache());
}

TEST_F(SchedulerTest, AcceptedDraftsMakeAStepSeveralTokensLong) {
  open({.draft_tokens = 3});
  const RequestId id = *scheduler->submit({.prompt = prompt(4), .max_new_tokens = 6});
  Device device(pool);
  const Stops never = [](RequestId, Token) { return false; };
  StepPlan plan = scheduler->plan();
  EXPECT_EQ(plan.rows.at(0).drafts, 0);
  EXPECT_TRUE(scheduler->plan().empty());  // its length after this step is open
  auto result = device.run(plan, never);
  ASSERT_TRUE(scheduler->commit(std::move(plan), result));
  plan = scheduler->plan();
  EXPECT_EQ(plan.rows.at(0).drafts, 3);
  EXPECT_EQ(plan.rows.at(0).blocks, 2);
  result = device.run(plan, never, [](int64_t) { return 2; });
  ASSERT_TRUE(scheduler->commit(std::move(plan), result));
  EXPECT_EQ(scheduler->find(id)->generated(), 4);
  EXPECT_EQ(scheduler->find(id)->computed, 7);
  plan = scheduler->plan();
  EXPECT_EQ(plan.rows.at(0).from, 7);
  EXPECT_EQ(plan.rows.at(0).drafts, 1);  // no more than the answer may have
  result = device.run(plan, never, [](int64_t most) { return most; });
  const auto done = scheduler->commit(std::move(plan), result);
  EXPECT_EQ(done->at(0).output, alone(prompt(4), 6, [](Token) { return false; }));
}

}  // namespace
}  // namespace cairn::llm
