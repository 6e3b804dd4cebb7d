// Step caches around small real networks: what flows, for each of cache-dit's six block patterns.
#include <gmock/gmock.h>

#include <array>
#include <cmath>

#include "cache_toy.h"

namespace cairn::diffusion {
namespace {

constexpr int64_t kDepth = 6, kSteps = 12;

// What a block takes and gives. cache-dit tells six apart; the order of outputs (0 and 1, 4 and 5) is the model's own
// business here.
enum class Pattern { kBoth, kConstantEncoder, kHiddenOnly, kMakesEncoder };
constexpr std::array kPatterns = {Pattern::kBoth, Pattern::kConstantEncoder, Pattern::kHiddenOnly,
                                  Pattern::kMakesEncoder};

// A network that changes slowly from step to step, and counts its blocks.
struct Net {
  Pattern pattern = Pattern::kBoth;
  double time = 0;
  int64_t ran = 0;
  std::vector<Range> calls{};

  Streams operator()(Streams x, Range r) {
    check(r.size() > 0 && r.first >= 0 && r.last <= kDepth, "a bad range");
    calls.push_back(r);
    for (int64_t i = r.first; i < r.last; ++i, ++ran) {
      const double w = 0.3 + 0.1 * static_cast<double>(i);
      Tensor context = x.encoder.defined() ? x.encoder.mean() : Tensor();
      Tensor h = x.hidden + (x.hidden * w + time).sin() * 0.2;
      if (pattern == Pattern::kBoth || pattern == Pattern::kConstantEncoder) h = h + context * 0.1;
      if (pattern == Pattern::kBoth) x.encoder = x.encoder + (x.encoder + x.hidden.mean() + time).cos() * 0.1;
      if (pattern == Pattern::kMakesEncoder) x.encoder = x.hidden.slice(1, 0, 3) * w;
      x.hidden = h;
    }
    return x;
  }
  Streams input(int64_t step, int64_t tokens = 10) {
    time = 0.008 * static_cast<double>(step);
    Noise noise(7);
    Streams in{noise.normal({2, tokens, 24}, kF32) * (1 - 0.004 * static_cast<double>(step)),
               noise.normal({2, 4, 24}, kF32)};
    if (pattern == Pattern::kHiddenOnly || pattern == Pattern::kMakesEncoder) in.encoder = Tensor();
    return in;
  }
};

double distance(const Tensor& got, const Tensor& want) {
  return ((got - want).norm().item<double>() / want.norm().item<double>());
}

CacheConfig config(const std::string& keys) {
  return or_throw(parse_cache_config(or_throw(Json::parse("{" + keys + "}"))));
}

Streams run(RequestCache& cache, Net& net, int64_t step, Branch branch = Branch::kMain, int64_t tokens = 10) {
  const Streams in = net.input(step, tokens);
  return cache.stack("b", branch).run({step, kSteps, branch}, in, kDepth, [&](const Streams& x, Range r) {
    return net(x, r);
  });
}

void expect_same(const Streams& a, const Streams& b) {
  EXPECT_TRUE(a.hidden.equal(b.hidden));
  ASSERT_EQ(a.encoder.defined(), b.encoder.defined());
  if (a.encoder.defined()) { EXPECT_TRUE(a.encoder.equal(b.encoder)); }
}

const std::vector<std::string> kNeverSkip = {
    R"("cache_type": "NONE")",
    R"("Fn_compute_blocks": 6, "residual_diff_threshold": 0.5)",
    R"("Fn_compute_blocks": 2, "Bn_compute_blocks": 1, "residual_diff_threshold": 0)",
    R"("Fn_compute_blocks": 2, "max_warmup_steps": 12, "residual_diff_threshold": 1)",
    R"("Fn_compute_blocks": 2, "max_cached_steps": 0, "enable_taylorseer": true)",
    R"("cache_type": "DBPrune", "Fn_compute_blocks": 1, "residual_diff_threshold": 0)",
    R"("cache_type": "DBPrune", "Fn_compute_blocks": 6, "residual_diff_threshold": 1)",
    R"("cache_type": "DBPrune", "Fn_compute_blocks": 1, "max_warmup_steps": 12, "enable_dmd": true)"};

TEST(StepCache, ThatNeverSkipsIsBitIdenticalToNone) {
  for (const auto& keys : kNeverSkip)
    for (Pattern pattern : kPatterns) {
      RequestCache cache(config(keys)), none;
      Net a{pattern}, b{pattern};
      for (int64_t i = 0; i < kSteps; ++i) expect_same(run(cache, a, i), run(none, b, i));
      EXPECT_EQ(a.ran, kDepth * kSteps);
    }
}

const std::string kFront = R"("Fn_compute_blocks": 1, "residual_diff_threshold": 0.3, "max_warmup_steps": )";
const std::string kPrune = R"("cache_type": "DBPrune", "Fn_compute_blocks": 1, "max_warmup_steps": 4,)"
                           R"("residual_diff_threshold": 0.1)";
const std::vector<std::string> kSkip = {
    R"("Fn_compute_blocks": 2, "Bn_compute_blocks": 1, "max_warmup_steps": 3, "residual_diff_threshold": 0.3)",
    kFront + R"(4, "enable_taylorseer": true, "enable_encoder_taylorseer": true, "taylorseer_order": 2)",
    kFront + R"(4, "enable_taylorseer": true, "taylorseer_cache_type": "hidden_states")",
    kFront + R"(4, "enable_foca": true, "enable_encoder_foca": true, "calibrator_cache_type": "hidden_states")",
    kFront + R"(5, "enable_dmd": true)",
    kPrune + R"(, "Bn_compute_blocks": 1)",
    kPrune + R"(, "downsample_factor": 4, "enable_dmd": true)",
    kPrune +
        R"(, "enable_taylorseer": true, "enable_encoder_taylorseer": true, "taylorseer_cache_type": "hidden_states")"};

TEST(StepCache, SkipsAndStaysCloseOnEveryPattern) {
  for (const auto& keys : kSkip)
    for (Pattern pattern : kPatterns) {
      SCOPED_TRACE(keys + " pattern " + std::to_string(static_cast<int>(pattern)));
      RequestCache cache(config(keys)), none;
      Net a{pattern}, b{pattern};
      for (int64_t i = 0; i < kSteps; ++i) {
        const Streams got = run(cache, a, i), want = run(none, b, i);
        EXPECT_LT(distance(got.hidden, want.hidden), 0.08);
        ASSERT_EQ(got.encoder.defined(), want.encoder.defined());
        if (want.encoder.defined()) { EXPECT_LT(distance(got.encoder, want.encoder), 0.08); }
      }
      const auto stats = cache.stats().stacks[0].main;
      EXPECT_LT(a.ran, kDepth * kSteps - kSteps);
      EXPECT_EQ(stats.trace.size(), static_cast<size_t>(kSteps));
      EXPECT_EQ(std::ranges::count(stats.trace, '0'), stats.cached);
      EXPECT_EQ(stats.trace[0], '1');
      if (cache.stats().stacks[0].config.prune()) { EXPECT_EQ(a.ran + stats.pruned(), kDepth * kSteps); }
    }
}

TEST(DbCache, ASkippedStepIsTheBackOfTheFrontAndTheHeldResidual) {
  for (Pattern pattern : kPatterns) {
    RequestCache cache(config(kSkip[0]));
    Net net{pattern}, by_hand{pattern};
    Streams front, middle;
    for (int64_t i = 0; i < kSteps; ++i) {
      const Streams got = run(cache, net, i);
      const Streams x = by_hand(by_hand.input(i), {0, 2});
      if (cache.stats().stacks[0].main.trace.back() == '1') {
        front = x;
        middle = by_hand(x, {2, 5});
        continue;
      }
      Streams y{x.hidden + (middle.hidden - front.hidden), Tensor()};
      if (x.encoder.defined()) y.encoder = x.encoder + (middle.encoder - front.encoder);
      const Streams want = by_hand(y, {5, 6});
      EXPECT_TRUE(got.hidden.allclose(want.hidden, 1e-6, 1e-6));
      if (want.encoder.defined()) { EXPECT_TRUE(got.encoder.allclose(want.encoder, 1e-6, 1e-6)); }
    }
    EXPECT_GT(cache.stats().stacks[0].main.cached, 0);
  }
}

TEST(DbCache, CallsTheModelAtMostThreeTimesAStep) {
  RequestCache cache(config(kSkip[0]));
  Net net;
  for (int64_t i = 0; i < kSteps; ++i) {
    net.calls.clear();
    run(cache, net, i);
    EXPECT_EQ(net.calls.size(), cache.stats().stacks[0].main.trace.back() == '1' ? 3u : 2u);
  }
}

TEST(DbPrune, RunsNeighboursThatAlwaysRunInOneCall) {
  RequestCache cache(
      config(R"("cache_type": "DBPrune", "Fn_compute_blocks": 2, "non_prune_block_ids": [2], "Bn_compute_blocks": 2)"));
  Net net;
  run(cache, net, 0);
  ASSERT_EQ(net.calls.size(), 3u);
  EXPECT_EQ(net.calls[0].last, 3);
  EXPECT_EQ(net.calls[2].first, 4);
}

TEST(RequestCache, InterleavedRequestsEqualRequestsInARow) {
  for (const auto& keys : kSkip) {
    std::vector<Streams> alone;
    for (Branch branch : {Branch::kMain, Branch::kCfg}) {
      RequestCache cache(config(keys));
      Net net;
      for (int64_t i = 0; i < kSteps; ++i) alone.push_back(run(cache, net, i, branch));
    }
    RequestCache a(config(keys)), b(config(keys));
    Net net;
    for (int64_t i = 0; i < kSteps; ++i)
      for (auto* cache : {&a, &b})
        for (Branch branch : {Branch::kMain, Branch::kCfg})
          expect_same(run(*cache, net, i, branch),
                      alone[static_cast<size_t>(i + (branch == Branch::kCfg ? kSteps : 0))]);
  }
}

TEST(RequestCache, ANewRequestInAnOldCacheStartsAfresh) {
  for (const auto& keys : kSkip) {
    RequestCache cache(config(keys)), fresh(config(keys));
    Net net;
    for (int64_t i = 0; i < kSteps; ++i) run(cache, net, i);
    for (int64_t i = 0; i < kSteps; ++i) expect_same(run(cache, net, i), run(fresh, net, i));
    EXPECT_EQ(cache.stats().stacks[0].main.trace, fresh.stats().stacks[0].main.trace);
  }
}

TEST(RequestCache, AnotherResolutionNeverHits) {
  for (const std::string& keys : std::vector<std::string>{
           kSkip[0], kSkip[1], kSkip[5],
           std::string(R"("Fn_compute_blocks": 1, "residual_diff_threshold": 1, "max_warmup_steps": 1)")}) {
    RequestCache cache(config(keys));
    Net net;
    for (int64_t i = 0; i < 6; ++i) run(cache, net, i);
    run(cache, net, 6, Branch::kMain, 14);
    EXPECT_EQ(cache.stats().stacks[0].main.trace[6], '1');
  }
}

TEST(RequestCache, RefreshForgetsAndTakesAnotherConfiguration) {
  RequestCache cache(config(kSkip[0]));
  Net net;
  for (int64_t i = 0; i < 6; ++i) run(cache, net, i);
  EXPECT_FALSE(cache.refresh([] {
    CacheConfig c;
    c.front = 0;
    return c;
  }()));
  EXPECT_EQ(cache.stats().stacks[0].main.trace.size(), 6u);
  ASSERT_TRUE(cache.refresh(config(R"("Fn_compute_blocks": 1, "max_warmup_steps": 2, "residual_diff_threshold": 1)")));
  for (int64_t i = 0; i < 4; ++i) run(cache, net, i);
  EXPECT_EQ(cache.stats().stacks[0].main.trace, "1100");
}

TEST(RequestCache, RefusesConfigurationsThatDoNotFitTheModel) {
  RequestCache cache(
      config(R"("Fn_compute_blocks": 4, "Bn_compute_blocks": 3, "stacks": {"single": {"Bn_compute_blocks": 0}})"));
  EXPECT_THAT(cache.fits({{"double", 6}, {"single", 6}}).error().what,
              testing::HasSubstr("exceed the 6 blocks of double"));
  EXPECT_TRUE(cache.fits({{"double", 7}, {"single", 4}}));
  EXPECT_THAT(cache.fits({{"double", 7}, {"singles", 8}}).error().what, testing::HasSubstr("did you mean singles?"));
  Net net;
  EXPECT_THROW(run(cache, net, 0), Failure);
  EXPECT_THROW(RequestCache([] {
                 CacheConfig c;
                 c.threshold = std::nan("");
                 return c;
               }()),
               Failure);
}

TEST(RequestCache, StacksMayDiffer) {
  RequestCache cache(config(R"("Fn_compute_blocks": 1, "max_warmup_steps": 2, "residual_diff_threshold": 1, )"
                            R"("stacks": {"slow": {"residual_diff_threshold": 0}})"));
  Net net;
  for (int64_t i = 0; i < 4; ++i)
    for (const char* name : {"slow", "fast"})
      cache.stack(name).run({i, 4}, net.input(i), kDepth, [&](const Streams& x, Range r) { return net(x, r); });
  EXPECT_EQ(cache.stats().stacks[0].main.trace, "1111");
  EXPECT_EQ(cache.stats().stacks[1].main.trace, "1100");
}

TEST(StreamPredictors, KeepNothingOfAConstantEncoder) {
  RequestCache cache(config(kSkip[0]));
  Net net{Pattern::kConstantEncoder};
  const Streams in = net.input(0);
  for (int64_t i = 0; i < kSteps; ++i) {
    const auto out =
        cache.stack("b").run({i, kSteps}, in, kDepth, [&](const Streams& x, Range r) { return net(x, r); });
    EXPECT_TRUE(out.encoder.is_same(in.encoder));
  }
}

}  // namespace
}  // namespace cairn::diffusion
