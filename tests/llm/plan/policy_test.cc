#include "llm/plan/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cairn::llm {
namespace {

using testing::ElementsAre;

Candidate with(int64_t priority, int64_t cached, std::span<const uint64_t> path = {},
               std::optional<kv::Hash> lead = {}) {
  return {priority, cached, lead, path};
}

TEST(ServiceOrder, LongestCachedPrefixFirstThenArrival) {
  const std::vector<Candidate> waiting{with(0, 0), with(0, 64), with(0, 16), with(0, 64)};
  EXPECT_THAT(service_order(Policy::kLpm, waiting), ElementsAre(1, 3, 2, 0));
}

TEST(ServiceOrder, PriorityComesBeforeThePolicy) {
  const std::vector<Candidate> waiting{with(0, 64), with(5, 0), with(-1, 128)};
  EXPECT_THAT(service_order(Policy::kLpm, waiting), ElementsAre(1, 0, 2));
}

TEST(ServiceOrder, WhoSharesAnUncachedLeadLetsTheFirstComputeIt) {
  const kv::Hash lead{1, 2}, other{3, 4};
  const std::vector<Candidate> waiting{with(0, 0, {}, lead), with(0, 32, {}, lead), with(0, 0), with(0, 0, {}, other),
                                       with(0, 48, {}, lead)};
  EXPECT_THAT(service_order(Policy::kLpm, waiting), ElementsAre(4, 0, 2, 3, 1));
}

TEST(ServiceOrder, DfsTakesTheHeaviestBranchAndLeavesBeforeInnerNodes) {
  const std::vector<uint64_t> one{1}, light{1, 2}, heavy{1, 3}, away{9};
  const std::vector<Candidate> waiting{with(0, 0),        with(0, 0, away),  with(0, 0, one),
                                       with(0, 0, light), with(0, 0, heavy), with(0, 0, heavy)};
  EXPECT_THAT(service_order(Policy::kDfsWeight, waiting), ElementsAre(4, 5, 3, 2, 1, 0));
}

TEST(Pace, LearnsWhatPromptTokensCostBesideAnswers) {
  Pace pace;
  EXPECT_EQ(pace.beside(8, 16, 512), 512);  // of nothing it knows nothing
  pace.took(0.5, 0, 2048);
  EXPECT_EQ(pace.beside(8, 16, 512), 16);
  // 2 ms, and 0.1 ms a token: a step of 8 takes 2.8, so 7 ms are 42 tokens more.
  const auto take = [&](int64_t answers, int64_t prompts) {
    pace.took(2e-3 + 1e-4 * static_cast<double>(answers + prompts), answers, prompts);
  };
  for (int i = 0; i < 50; ++i) take(8, 0);
  EXPECT_EQ(pace.beside(8, 16, 512), 16);
  take(8, 16);
  EXPECT_NEAR(static_cast<double>(pace.beside(8, 16, 512)), 42, 1);
  for (int i = 0; i < 2000; ++i) take(8, 0);  // long ago is not forgotten while nothing new is learnt
  EXPECT_NEAR(static_cast<double>(pace.beside(8, 16, 512)), 42, 1);
  EXPECT_NEAR(static_cast<double>(pace.beside(28, 16, 512)), 72, 1);
  EXPECT_EQ(pace.beside(8, 16, 32), 32);
  EXPECT_EQ(pace.beside(8, 64, 512), 64);
  // A device that waits for memory takes more tokens in the same time.
  for (int i = 0; i < 300; ++i) pace.took(40e-3 + 1e-5 * (i % 2 ? 8.0 : 24.0), 8, i % 2 ? 0 : 16);
  EXPECT_EQ(pace.beside(8, 16, 512), 512);
}

TEST(PolicyNamed, OffersWhatThereIs) {
  EXPECT_EQ(policy_named("lof").value(), Policy::kLof);
  EXPECT_THAT(policy_named("best").error().what, testing::HasSubstr("fcfs, lpm, dfs-weight, lof"));
}

TEST(PrefillBudget, LeavesTheAnswersTheirShareAndPromptsABlock) {
  SchedulerConfig c;
  c.chunked_prefill_size = 512;
  EXPECT_EQ(prefill_budget(c, 8, 16), 504);
  c.mixed_chunk_size = 128;
  EXPECT_EQ(prefill_budget(c, 8, 16), 128);
  EXPECT_EQ(prefill_budget(c, 500, 16), 16);
  EXPECT_EQ(prefill_budget(c, 0, 16), 512);
  c.mixed_chunk_size = 0;
  EXPECT_EQ(prefill_budget(c, 600, 16), 16);
  c.max_prefill_tokens = 100;
  EXPECT_EQ(prefill_budget(c, 0, 16), 100);
  c.chunked_prefill_size = -1;
  c.max_prefill_tokens = 4;
  EXPECT_EQ(prefill_budget(c, 9, 16), 4);
}

TEST(Chunk, IsWholeBlocksUnlessItEndsThePrompt) {
  SchedulerConfig c;
  EXPECT_EQ(chunk(c, 50, 50, false, 16), 50);
  EXPECT_EQ(chunk(c, 90, 50, false, 16), 48);
  EXPECT_EQ(chunk(c, 90, 10, false, 16), 10);
  c.chunked_prefill_size = -1;
  EXPECT_EQ(chunk(c, 90, 50, false, 16), 0);
  EXPECT_EQ(chunk(c, 90, 50, true, 16), 90);
}

TEST(NewTokenRatio, SinksWithDecodingAndRisesWithRetraction) {
  NewTokenRatio ratio(1.0);
  EXPECT_DOUBLE_EQ(ratio.value(), 0.7);
  for (int i = 0; i < 300; ++i) ratio.decoded();
  EXPECT_NEAR(ratio.value(), (0.7 + 0.098) / 2, 1e-9);
  for (int i = 0; i < 400; ++i) ratio.decoded();
  EXPECT_NEAR(ratio.value(), 0.098, 1e-12);
  ratio.retracted(100, 400, 5);
  EXPECT_DOUBLE_EQ(ratio.value(), 0.5);
  ratio.retracted(1000, 400, 5);
  EXPECT_DOUBLE_EQ(ratio.value(), 1.0);
  ratio.retracted(0, 0, 0);
  EXPECT_DOUBLE_EQ(ratio.value(), 1.0);
  ratio.reset();
  EXPECT_DOUBLE_EQ(ratio.value(), 0.7);
  EXPECT_DOUBLE_EQ(NewTokenRatio(2.0).value(), 1.0);
}

}  // namespace
}  // namespace cairn::llm
