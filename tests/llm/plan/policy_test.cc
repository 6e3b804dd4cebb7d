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

TEST(Pace, PromptTokensMayTakeAsLongAsTheAnswersBesideThem) {
  Pace pace;
  EXPECT_EQ(pace.beside(8, 512), 512);  // of nothing it knows nothing
  pace.took(0.5, 0, 2048);
  EXPECT_EQ(pace.beside(8, 512), 4);
  pace.took(0.2, 8, 0);  // the first one, in which much is done for the first time
  for (int i = 0; i < 20; ++i) pace.took(4e-3, 8, 0);
  EXPECT_EQ(pace.beside(8, 512), 4);  // what they cost is not known
  pace.took(4.4e-3, 8, 4);
  EXPECT_NEAR(static_cast<double>(pace.beside(8, 512)), 40, 2);
  EXPECT_NEAR(static_cast<double>(pace.beside(2, 512)), 10, 1);
  EXPECT_NEAR(static_cast<double>(pace.beside(64, 512)), 40, 2);
  EXPECT_EQ(pace.beside(8, 32), 32);
  EXPECT_EQ(pace.beside(8, 2), 2);
  for (int i = 0; i < 30; ++i) pace.took(4e-3 + 40 * 4e-3, 8, 40);  // behind a long prompt
  EXPECT_EQ(pace.beside(8, 512), 4);
  for (int i = 0; i < 60; ++i) pace.took(4e-3 + 4 * 1e-6, 8, 4);  // a device that waits for memory
  EXPECT_EQ(pace.beside(8, 512), 512);
  for (int i = 0; i < 60; ++i) pace.took(3e-3, 8, 16);  // they cost nothing
  EXPECT_EQ(pace.beside(8, 512), 512);
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
  Pace slow;
  slow.took(1, 8, 0);
  EXPECT_EQ(prefill_budget(c, 8, 16, slow), 4);
  EXPECT_EQ(prefill_budget(c, 511, 16, slow), 4);
  EXPECT_EQ(prefill_budget(c, 0, 16, slow), 512);
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
