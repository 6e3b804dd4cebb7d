#include "llm/sampling.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "device/under_test.h"
#include "ops/sampling.h"

namespace cairn::llm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kVocabulary = 24;

std::vector<float> some_logits(uint32_t seed, int n = kVocabulary) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = normal(random);
  return out;
}

int32_t first_of(const SamplingParams& p, std::vector<float> logits, std::span<const uint32_t> allowed = {}) {
  return or_throw(Sampler(p, {}, {}, 1).next(logits, allowed, false, 0)).token;
}

// Probabilities after temperature, top-k, top-p and min-p, by the book: sorted, cut, divided.
std::vector<double> by_the_book(const SamplingParams& p, const std::vector<float>& logits) {
  std::vector<double> w;
  const double top = double{*std::ranges::max_element(logits)};
  double total = 0;
  for (const float x : logits) w.push_back(std::exp((double{x} - top) / p.temperature)), total += w.back();
  std::vector<size_t> order(w.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, [&](size_t a, size_t b) { return w[a] > w[b]; });
  double before = 0, kept = 0;
  std::vector<double> out(w.size(), 0);
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const double share = w[order[rank]] / total;
    const bool stays =
        (p.top_k < 0 || static_cast<int64_t>(rank) < p.top_k) && before <= p.top_p && w[order[rank]] >= p.min_p;
    if (rank == 0 || stays) out[order[rank]] = share, kept += share;
    before += share;
  }
  for (double& x : out) x /= kept;
  return out;
}

TEST(Sampler, DrawsWithTheProbabilitiesOfItsParameters) {
  const std::vector<SamplingParams> all = [] {
    std::vector<SamplingParams> list(6);
    list[1].temperature = 0.5;
    list[2].top_k = 5;
    list[3].top_p = 0.7;
    list[4].min_p = 0.1;
    list[5].temperature = 1.7, list[5].top_k = 12, list[5].top_p = 0.9, list[5].min_p = 0.02;
    return list;
  }();
  for (size_t i = 0; i < all.size(); ++i) {
    const auto logits = some_logits(static_cast<uint32_t>(i));
    const auto want = by_the_book(all[i], logits);
    constexpr int kDraws = 20000;
    std::vector<int> got(kVocabulary);
    Sampler s(all[i], {}, {}, 7 + i);
    for (int n = 0; n < kDraws; ++n) {
      auto copy = logits;
      ++got[static_cast<size_t>(or_throw(s.next(copy, {}, false, 0)).token)];
    }
    for (size_t t = 0; t < kVocabulary; ++t) {
      const double expected = want[t] * kDraws;
      if (expected == 0) { EXPECT_EQ(got[t], 0) << i << " " << t; }
      EXPECT_NEAR(got[t], expected, 5 * std::sqrt(expected) + 1) << i << " " << t;
    }
  }
}

TEST(Sampler, DrawsFromALargeVocabularyAsFromASmallOne) {
  const std::vector<SamplingParams> all = [] {
    std::vector<SamplingParams> list(6);
    list[1].temperature = 6, list[1].top_p = 0.9;  // most of the vocabulary
    list[2].top_k = 50, list[2].top_p = 0.95, list[2].min_p = 0.05;
    list[3].top_p = 0.6;
    list[4].min_p = 0.02, list[4].temperature = 2;
    list[5].top_k = 2000;
    return list;
  }();
  for (size_t i = 0; i < all.size(); ++i) {
    const auto logits = some_logits(static_cast<uint32_t>(i), 5000);
    const auto want = by_the_book(all[i], logits);
    std::vector<size_t> order(logits.size());
    for (size_t t = 0; t < order.size(); ++t) order[t] = t;
    std::ranges::sort(order, [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    constexpr int kDraws = 2000;
    std::vector<int> got(logits.size());
    Sampler s(all[i], {}, {}, 7 + i);
    for (int n = 0; n < kDraws; ++n) {
      auto copy = logits;
      ++got[static_cast<size_t>(or_throw(s.next(copy, {}, false, 0)).token)];
    }
    // By ranks 1, 2 to 3, 4 to 7, and so on.
    for (size_t from = 0; from < order.size(); from = 2 * from + 1) {
      double expected = 0;
      int drawn = 0;
      for (size_t rank = from; rank < std::min(2 * from + 1, order.size()); ++rank) {
        expected += want[order[rank]] * kDraws, drawn += got[order[rank]];
        if (want[order[rank]] == 0) { EXPECT_EQ(got[order[rank]], 0) << i << " rank " << rank; }
      }
      EXPECT_NEAR(drawn, expected, 5 * std::sqrt(expected) + 1) << i << " from rank " << from;
    }
  }
}

TEST(Sampler, GreedyTakesTheFirstOfTheLikeliest) {
  SamplingParams p;
  p.temperature = 0;
  EXPECT_EQ(first_of(p, {1, 3, 2, 3}), 1);
  p.temperature = 1, p.top_k = 1;
  EXPECT_EQ(first_of(p, {1, 3, 2, 3}), 1);
  EXPECT_EQ(first_of(p, std::vector<float>(40, -5)), 0);
}

TEST(Sampler, TheSameSeedGivesTheSameTokensWhateverTheFallback) {
  SamplingParams p;
  p.seed = 42;
  const auto run = [&](uint64_t fallback) {
    Sampler s(p, {}, {}, fallback);
    std::vector<int32_t> out;
    for (uint32_t i = 0; i < 50; ++i) {
      auto logits = some_logits(i);
      out.push_back(or_throw(s.next(logits, {}, false, 0)).token);
    }
    return out;
  };
  const auto first = run(1);
  EXPECT_EQ(first, run(2));
  p.seed = 43;
  EXPECT_NE(first, run(1));
}

TEST(Sampler, PenaltiesFollowTheirDefinitions) {
  SamplingParams p;
  p.temperature = 0, p.frequency_penalty = 0.5, p.presence_penalty = 1;
  Sampler s(p, {}, {}, 1);
  // 2.0 against 0.6 and 0.4: taken at 2.0, then at 0.5, then the others once, then again by what is left.
  std::vector<int32_t> got;
  for (int i = 0; i < 4; ++i) {
    std::vector<float> logits{2.0f, 0.6f, 0.4f};
    got.push_back(or_throw(s.next(logits, {}, false, 0)).token);
  }
  EXPECT_THAT(got, ElementsAre(0, 1, 0, 2));
  SamplingParams r;
  r.temperature = 0, r.repetition_penalty = 2;
  const std::vector<int32_t> prompt{0, 2, 0};
  Sampler t(r, prompt, {}, 1);
  std::vector<float> logits{3, 1.6f, -0.1f};
  EXPECT_EQ(or_throw(t.next(logits, {}, false, 0)).token, 1);
  EXPECT_THAT(logits, ElementsAre(1.5f, 1.6f, -0.2f));
}

TEST(Sampler, BiasMaskAndMinimumLengthBind) {
  SamplingParams p;
  p.temperature = 0, p.logit_bias = {{2, 10.0}};
  EXPECT_EQ(first_of(p, {1, 3, 2}), 2);
  const std::vector<uint32_t> allowed{0b001};
  EXPECT_EQ(first_of(p, {1, 3, 2}, allowed), 0);
  SamplingParams m;
  m.temperature = 0, m.min_new_tokens = 2, m.stop_token_ids = {1};
  const std::vector<int32_t> ends{2};
  Sampler s(m, {}, ends, 1);
  for (const int32_t want : {0, 0, 2}) {
    std::vector<float> logits{1, 2, 3};
    EXPECT_EQ(or_throw(s.next(logits, {}, false, 0)).token, want);
  }
  EXPECT_TRUE(s.ends(1) && s.ends(2) && !s.ends(0));
}

TEST(Sampler, LogarithmsAreThoseOfTheSoftmaxAfterTemperature) {
  SamplingParams p;
  p.temperature = 0.5, p.seed = 3;
  auto logits = some_logits(9);
  const auto want = by_the_book(p, logits);
  const Choice c = or_throw(Sampler(p, {}, {}, 1).next(logits, {}, true, 3));
  EXPECT_NEAR(double{c.logprob}, std::log(want[static_cast<size_t>(c.token)]), 1e-5);
  ASSERT_EQ(c.top.size(), 3u);
  for (const auto& [id, value] : c.top) EXPECT_NEAR(double{value}, std::log(want[static_cast<size_t>(id)]), 1e-5);
  EXPECT_GE(c.top[0].second, c.top[1].second);
}

TEST(Sampler, AMaskBindsInLargeVocabularies) {
  std::mt19937 random(3);
  for (const double temperature : {0.0, 1.0, 50.0}) {
    SamplingParams p;
    p.temperature = temperature;
    for (int round = 0; round < 200; ++round) {
      std::vector<uint32_t> allowed(150, round % 2 ? 0u : ~0u);  // shorter than the vocabulary: the rest may not follow
      for (int i = 0; i < 20; ++i) allowed[random() % 150] ^= 1u << random() % 32;
      auto logits = some_logits(static_cast<uint32_t>(round), 5000);
      p.seed = round;
      const Choice c = or_throw(Sampler(p, {}, {}, 1).next(logits, allowed, true, 5));
      const auto token = static_cast<size_t>(c.token);
      ASSERT_TRUE(token < 150 * 32 && (allowed[token / 32] >> token % 32 & 1)) << token;
    }
  }
}

TEST(Sampler, SaysWhenNothingMayFollowOrNumbersAreNone) {
  const std::vector<uint32_t> nothing{0};
  std::vector<float> logits{1, 2};
  const auto none = Sampler({}, {}, {}, 1).next(logits, nothing, false, 0);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("no token may follow"));
  std::vector<float> broken{1, NAN, 0};
  const auto bad = Sampler({}, {}, {}, 1).next(broken, {}, false, 0);
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().what, HasSubstr("not numbers"));
  EXPECT_FALSE(judged(broken, 0, 0, {}));
}

// Several requests of a step beside their samplers, token by token, on the device under test.
TEST(Sampler, ADeviceChoosesTheSameTokens) {
  for (const int vocabulary : {3, 100, 5000}) {
    std::vector<SamplingParams> all(10);
    for (size_t i = 0; i < all.size(); ++i) all[i].seed = static_cast<int64_t>(i) + vocabulary;
    all[1].temperature = 0;
    all[2].temperature = 0.6, all[2].top_k = 5;
    all[3].top_p = 0.8;
    all[4].min_p = 0.1, all[4].temperature = 1.7;
    all[5].top_k = 40, all[5].top_p = 0.9, all[5].min_p = 0.01;
    all[6].frequency_penalty = 0.7, all[6].presence_penalty = -0.3, all[6].repetition_penalty = 1.3;
    all[7].logit_bias = {{1, 3}, {2, -2}}, all[7].min_new_tokens = 3;
    all[8].top_k = 1000000, all[8].top_p = 0.999, all[8].repetition_penalty = 0.7;
    all[9].top_p = 1e-9;
    const std::vector<int32_t> prompt{1, 2, 2}, ends{0};
    std::vector<Sampler> samplers;
    for (const SamplingParams& p : all) samplers.emplace_back(p, prompt, ends, 0);
    std::mt19937 random(5);
    for (uint32_t n = 0; n < 8; ++n) {
      ops::Sampling how{.allowed_words = (vocabulary + 31) / 32};
      std::vector<std::vector<float>> logits;
      const Tensor rows = empty({static_cast<int64_t>(all.size()), vocabulary}, kF32);
      for (size_t i = 0; i < all.size(); ++i) {
        logits.push_back(some_logits(n * 100 + static_cast<uint32_t>(i), vocabulary));
        if (n % 3 == 1)  // many equals
          for (float& x : logits.back()) x = std::round(x);
        std::ranges::copy(logits.back(), rows.data_ptr<float>() + static_cast<std::ptrdiff_t>(i) * vocabulary);
        ops::SampleRow row = samplers[i].row();
        row.first_touch = static_cast<int32_t>(how.touches.size());
        std::ranges::copy(samplers[i].touches(), std::back_inserter(how.touches));
        if (i % 2) {
          row.allowed = static_cast<int32_t>(i / 2);
          for (int64_t w = 0; w < how.allowed_words; ++w) how.allowed.push_back(static_cast<uint32_t>(random()) | 6);
        }
        how.rows.push_back(row);
      }
      const auto got = ops::sample(rows.to(device_under_test()), how);
      for (size_t i = 0; i < all.size(); ++i) {
        std::span<const uint32_t> mask;
        if (i % 2) mask = std::span(how.allowed).subspan(i / 2 * static_cast<size_t>(how.allowed_words));
        const Choice want = or_throw(samplers[i].next(
            logits[i], mask.first(mask.empty() ? 0 : static_cast<size_t>(how.allowed_words)), true, 0));
        ASSERT_EQ(got[i].state, ops::Sampled::kChosen);
        ASSERT_EQ(got[i].token, want.token) << "request " << i << ", token " << n << " of " << vocabulary;
        EXPECT_NEAR(got[i].logprob, want.logprob, 2e-5 * (1 + std::fabs(want.logprob)));
      }
    }
  }
}

TEST(Sampler, ADeviceSaysWhyItChoosesNothing) {
  const Tensor logits = zeros({4, 40}, kF32);
  auto* p = logits.data_ptr<float>();
  p[3] = NAN, p[40 + 5] = INFINITY, p[3 * 40 + 9] = 1;
  const ops::SampleRow drawn{.uniform = 0.5, .top_p = 0.5};
  ops::Sampling how{.rows = {drawn, drawn, drawn, drawn}, .allowed = {0, 0}, .allowed_words = 2};
  how.rows[2].allowed = 0;
  const auto got = ops::sample(logits.to(device_under_test()), how);
  EXPECT_EQ(got[0].state, ops::Sampled::kNotNumbers);
  EXPECT_EQ(got[1].state, ops::Sampled::kNotNumbers);
  EXPECT_EQ(got[2].state, ops::Sampled::kNoneMayFollow);
  EXPECT_EQ(got[3].state, ops::Sampled::kChosen);
  Sampler s({}, {}, {}, 1);
  EXPECT_THAT(s.took(got[0]).error().what, HasSubstr("not numbers"));
  EXPECT_THAT(s.took(got[2]).error().what, HasSubstr("no token may follow"));
  EXPECT_EQ(s.generated(), 0);
  EXPECT_TRUE(s.took(got[3]));
  EXPECT_EQ(s.generated(), 1);
}

TEST(SamplingParams, RefusesWhatMakesNoSense) {
  SamplingParams p;
  EXPECT_TRUE(p.check(10));
  for (auto spoil :
       {+[](SamplingParams& q) { q.top_k = 0; }, +[](SamplingParams& q) { q.top_p = 0; },
        +[](SamplingParams& q) { q.repetition_penalty = 0; }, +[](SamplingParams& q) { q.min_new_tokens = 500; },
        +[](SamplingParams& q) {
          q.logit_bias = {{10, 1.0}};
        },
        +[](SamplingParams& q) {
          q.logit_bias = {{1, INFINITY}};
        },
        +[](SamplingParams& q) { q.stop_token_ids = {-1}; }}) {
    SamplingParams q;
    spoil(q);
    EXPECT_FALSE(q.check(10));
  }
}

}  // namespace
}  // namespace cairn::llm
