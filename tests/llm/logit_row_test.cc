#include "llm/logit_row.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <random>

namespace cairn::llm {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
const std::vector<size_t> kSizes{1, 5, 63, 64, 65, 640, 5000};

// With equals, and, where `masked`, many that may not follow.
std::vector<float> some_logits(size_t size, bool masked = false) {
  std::mt19937 random(static_cast<uint32_t>(size));
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> out(size);
  for (float& x : out) x = std::round(normal(random) * 64) / 64;
  if (masked)
    for (size_t i = 0; i + 1 < size; ++i)
      if (random() % 3 || i / 200 % 2) out[i] = kNever;
  return out;
}

std::vector<Candidate> sorted(const LogitRow& row) {
  auto all = row.above(kNever);
  std::ranges::sort(all, likelier);
  return all;
}

TEST(LogitRow, WeightsAndTheirSumAreWithinTheBounds) {
  for (const double scale : {0.01, 1.0, 3.0, 1e6}) {
    std::vector<float> logits{12};
    for (float x = 0; x < 130 / static_cast<float>(std::min(scale, 100.0));
         x += 0.0173f / static_cast<float>(scale < 1 ? scale : 1.0))
      logits.push_back(12 - x);
    logits.push_back(kNever), logits.push_back(-3e38f);
    LogitRow row(logits);
    const double total = row.weigh(scale);
    double want_total = 0;
    for (const Candidate& c : row.above(kNever)) {
      const double at = std::max((double{c.logit} - 12) * scale, -1e9), want = std::exp(at);
      want_total += want;
      ASSERT_NEAR(double{c.weight}, want, want * (3e-7 - 2e-7 * at) + 0x1p-126) << at;
      if (at < -89) { ASSERT_EQ(c.weight, 0); }
    }
    EXPECT_NEAR(total, want_total, want_total * 2e-6);
    EXPECT_EQ(row.above(12).front().weight, 1);
  }
}

TEST(LogitRow, FindsTheHighestAndTheLikeliest) {
  for (const size_t size : kSizes)
    for (const bool masked : {false, true}) {
      const auto logits = some_logits(size, masked);
      LogitRow row(logits);
      row.weigh(1);
      const auto highest = std::ranges::max_element(logits);
      EXPECT_EQ(row.highest(), *highest);
      EXPECT_EQ(row.first_highest(), highest - logits.begin());
      const auto all = sorted(row);
      ASSERT_EQ(all.size(), size);
      for (const size_t count : {size_t{1}, size_t{3}, size_t{20}, size_t{70}, size_t{6000}}) {
        const auto top = row.likeliest(count);
        ASSERT_EQ(top.size(), std::min(count, size));
        for (size_t i = 0; i < top.size(); ++i) ASSERT_EQ(top[i].token, all[i].token) << size << " " << i;
        EXPECT_GE(row.above(row.reached_by(count)).size(), top.size());
      }
    }
}

TEST(LogitRow, ReachesAMassInTheOrderOfIds) {
  for (const size_t size : kSizes)
    for (const bool masked : {false, true}) {
      const auto logits = some_logits(size, masked);
      LogitRow row(logits);
      const double total = row.weigh(0.7);
      const auto all = row.above(kNever);
      for (int i = 0; i <= 200; ++i) {
        const double mass = total * i / 200;
        const auto token = static_cast<size_t>(row.reaching(mass));
        ASSERT_GT(all[token].weight, 0);
        double before = 0;
        for (size_t j = 0; j < token; ++j) before += double{all[j].weight};
        ASSERT_LE(before, mass + total * 1e-5);
        ASSERT_GE(before + double{all[token].weight}, mass - total * 1e-5);
      }
    }
}

TEST(LogitRow, TakesTheFewestThatReachAMass) {
  for (const size_t size : kSizes) {
    const auto logits = some_logits(size);
    LogitRow row(logits);
    const double total = row.weigh(0.3);
    const auto all = sorted(row);
    for (const double mass : {0.0, 0.2 * total, 0.7 * total, 0.999 * total, 2 * total}) {
      auto candidates = row.above(kNever);
      const Front front = take_likeliest(candidates, mass);
      size_t want = 0;
      double sum = 0;
      while (want < all.size() && sum <= mass) sum += double{all[want++].weight};
      ASSERT_EQ(front.count, want);
      EXPECT_NEAR(front.mass, sum, sum * 1e-12);
      EXPECT_EQ(candidates[front.count - 1].token, all[want - 1].token);
      std::ranges::sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(front.count), likelier);
      for (size_t i = 0; i < want; ++i) ASSERT_EQ(candidates[i].token, all[i].token);
    }
  }
}

TEST(LogitRow, KnowsWhatCannotBeWeighed) {
  for (const size_t at : {size_t{0}, size_t{70}, size_t{199}}) {
    auto logits = some_logits(200);
    EXPECT_TRUE(LogitRow(logits).finite());
    logits[at] = NAN;
    EXPECT_FALSE(LogitRow(logits).numbers() || LogitRow(logits).finite());
    logits[at] = INFINITY;
    EXPECT_TRUE(LogitRow(logits).numbers() && !LogitRow(logits).finite());
  }
  const std::vector<float> nothing(100, kNever);
  EXPECT_TRUE(LogitRow(nothing).numbers() && !LogitRow(nothing).finite());
}

}  // namespace
}  // namespace cairn::llm
