#include "diffusion/cache/predictor.h"

#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <map>

#include "cache_toy.h"
#include "ops/cache.h"

namespace cairn::diffusion {
namespace {

using toy::filled;

// Updates at some steps; the forecasts at the others, as numbers.
std::map<int64_t, double> forecasts(Predictor& p, const std::vector<int64_t>& updates, const std::vector<int64_t>& asks,
                                    const std::function<double(int64_t)>& y) {
  std::map<int64_t, double> out;
  for (int64_t t = 0; t <= std::max(updates.back(), asks.back()); ++t)
    if (std::ranges::count(updates, t))
      p.update(t, filled(y(t)), {});
    else if (std::ranges::count(asks, t))
      out[t] = p.forecast(t, {}).select(-1, 0).flatten()[0].item<double>();
  return out;
}

CacheConfig config(const std::string& key, const Json& value = true, bool compat = false) {
  Json keys(Json::Object{{"compat", compat}});
  keys.set(key, value);
  return or_throw(read<CacheConfig>(keys));
}

double parabola(int64_t t) { return 3 + 2 * static_cast<double>(t) + 0.5 * static_cast<double>(t * t); }

TEST(TaylorSeer, MeetsTheVectorsOfCacheDit) {
  const std::vector<std::pair<int64_t, std::map<int64_t, double>>> vectors = {
      {1, {{5, 24.5}, {6, 30}, {8, 49}, {9, 56.5}, {11, 83.5}, {12, 94}}},
      {2, {{5, 25}, {6, 32}, {8, 49.3333}, {9, 57.8333}, {11, 84}, {12, 96}}}};
  for (const auto& [order, want] : vectors) {
    const auto p = make_predictor(config("taylorseer_order", order, true), Forecast::kTaylorSeer);
    const auto got = forecasts(*p, {0, 1, 2, 3, 4, 7, 10}, {5, 6, 8, 9, 11, 12}, parabola);
    for (const auto& [t, v] : want) EXPECT_NEAR(got.at(t), v, 1e-4) << "order " << order << " step " << t;
  }
}

TEST(TaylorSeer, KnowsASlopeFromTheSecondComputedStepOn) {
  const auto straight = [](int64_t t) { return 1 + 2 * static_cast<double>(t); };
  const auto sound = make_predictor(config("taylorseer_order", 1), Forecast::kTaylorSeer);
  EXPECT_NEAR(forecasts(*sound, {0, 1}, {2, 4}, straight).at(4), 9, 1e-6);
  // cache-dit has none before the fourth step.
  const auto late = make_predictor(config("taylorseer_order", 1, true), Forecast::kTaylorSeer);
  EXPECT_NEAR(forecasts(*late, {0, 1, 2}, {4}, straight).at(4), 5, 1e-6);
  const auto second = make_predictor(config("taylorseer_order", 2), Forecast::kTaylorSeer);
  EXPECT_NEAR(forecasts(*second, {0, 1, 2}, {3}, [](int64_t t) { return static_cast<double>(t * t); }).at(3), 8, 1e-5);
}

TEST(TaylorSeer, OfOrderZeroHoldsTheLastValue) {
  const auto p = make_predictor(config("taylorseer_order", 0), Forecast::kTaylorSeer);
  EXPECT_EQ(forecasts(*p, {0, 1, 2}, {5}, parabola).at(5), 9);
}

TEST(FoCa, MeetsTheVectorsOfCacheDit) {
  for (bool compat : {false, true}) {
    const auto p = make_predictor(config("enable_foca", true, compat), Forecast::kFoCa);
    const auto got = forecasts(*p, {0, 1}, {2, 3}, [](int64_t t) { return static_cast<double>(t); });
    EXPECT_NEAR(got.at(2), 2, 1e-6);
    EXPECT_NEAR(got.at(3), 3, 1e-6);
    const auto one = make_predictor(config("enable_foca", true, compat), Forecast::kFoCa);
    EXPECT_EQ(forecasts(*one, {0}, {1}, [](int64_t) { return 5.0; }).at(1), 5);
  }
}

TEST(FoCa, FollowsAStraightLineWhateverTheGapsUnlikeCacheDit) {
  const auto line = [](int64_t t) { return 1 + 2 * static_cast<double>(t); };
  const auto sound = make_predictor(config("enable_foca"), Forecast::kFoCa);
  const auto got = forecasts(*sound, {0, 4, 8, 12}, {5, 9, 13, 15, 18}, line);
  for (int64_t t : {5, 9, 13, 15}) EXPECT_NEAR(got.at(t), line(t), 1e-5) << t;
  EXPECT_NEAR(got.at(18), line(12) + 3, 1e-5) << "beyond three steps it falls back towards the last value";
  const auto compat = make_predictor(config("enable_foca", true, true), Forecast::kFoCa);
  EXPECT_GT(std::abs(forecasts(*compat, {0, 4, 8, 12}, {13}, line).at(13) - line(13)), 1);
}

// A field with decaying, turning and rough parts, (2, 3, 40).
Tensor field(int64_t step) {
  Tensor out = empty({2, 3, 40}, kF32);
  float* p = out.data_ptr<float>();
  const auto t = static_cast<double>(step);
  for (int n = 0; n < 2; ++n)
    for (int s = 0; s < 3; ++s)
      for (int i = 0; i < 40; ++i)
        *p++ = static_cast<float>(3 * std::cos(0.2 * i + 0.11 * t + n) * std::pow(0.97, t) +
                                  0.5 * std::sin(0.9 * i * (1 + s) + 0.3 * t) + 0.05 * std::cos(1.7 * i * (t + 1) + s) +
                                  2);
  return out;
}

struct Sample {
  int64_t step;
  std::array<double, 4> at;  // at these places of the flattened field
};
constexpr std::array<int64_t, 4> kPlaces = {0, 57, 130, 239};

void expect_field(Predictor& p, const std::vector<int64_t>& updates, const std::vector<Sample>& samples,
                  double tolerance) {
  for (int64_t t = 0; t <= samples.back().step; ++t) {
    if (std::ranges::count(updates, t)) p.update(t, field(t), {});
    for (const auto& s : samples)
      if (s.step == t) {
        const Tensor got = p.forecast(t, {}).flatten();
        for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got[kPlaces[i]].item<double>(), s.at[i], tolerance) << "step " << t;
      }
  }
}

// Numbers of cache-dit 1.5.3 on the field above.
const std::vector<int64_t> kUpdates = {0, 1, 2, 3, 7, 11, 15, 19}, kOthers = {0, 1, 2, 3, 8, 13};

TEST(Dmd, MeetsTheForecastsOfCacheDit) {
  struct Case {
    std::string key;
    Json value;
    std::vector<Sample> samples;
  };
  const std::vector<Case> cases = {
      {"dmd_history",
       6,
       {{4, {4.941837, 0.042697, -0.889502, -0.907171}},
        {6, {4.653627, 0.58541, -0.875858, -0.834162}},
        {16, {1.160582, 2.3722, 2.57496, 1.132808}},
        {18, {0.774344, 2.291534, 3.045033, 1.073073}},
        {23, {1.126032, 3.110694, 2.916391, 1.630216}}}},
      {"dmd_history",
       4,
       {{20, {0.936395, 2.769001, 3.143239, 1.382614}}, {23, {1.102724, 2.810941, 3.023674, 1.365221}}}},
      {"dmd_rank",
       2,
       {{4, {4.945457, 0.068379, -0.877879, -0.883846}}, {23, {0.112983, 2.558639, 3.299624, 1.502729}}}},
      {"dmd_svd_precision", "low", {{23, {1.126032, 3.110694, 2.916391, 1.630216}}}},
      {"dmd_ridge",
       0.5,
       {{5, {4.688414, 0.186195, -0.848148, -0.845349}}, {20, {0.928652, 2.775076, 3.113603, 1.395732}}}}};
  for (const auto& c : cases)
    for (bool compat : {false, true})
      expect_field(*make_predictor(config(c.key, c.value, compat), Forecast::kDmd), kUpdates, c.samples, 2e-5);
}

TEST(Dmd, FallsBackToALineThroughTheLastTwoValuesUnlikeCacheDit) {
  const std::vector<Sample> theirs = {{8, {4.005482, 1.73675, -0.39497, 0.076607}}};
  expect_field(*make_predictor(config("dmd_history", 6, true), Forecast::kDmd), kUpdates, theirs, 2e-5);
  const auto p = make_predictor(config("enable_dmd"), Forecast::kDmd);
  const auto line = [](int64_t t) { return 1 + 2 * static_cast<double>(t); };
  EXPECT_NEAR(forecasts(*p, {0, 1, 4}, {6}, line).at(6), line(6), 1e-5);
}

TEST(TaylorSeer, MeetsTheForecastsOfCacheDitOnAField) {
  expect_field(*make_predictor(config("taylorseer_order", 3, true), Forecast::kTaylorSeer), kOthers,
               {{4, {4.976903, -2.7e-05, -0.928571, -0.973477}},
                {12, {2.690228, 2.976017, 0.571978, 1.311986}},
                {14, {1.595341, 2.346815, 2.034835, 1.16479}}},
               2e-5);
}

TEST(FoCa, WithCompatMeetsTheForecastsOfCacheDitOnAField) {
  const auto p = make_predictor(config("enable_foca", true, true), Forecast::kFoCa);
  // Its forecasts feed on each other, so it is asked at every step.
  expect_field(*p, kOthers,
               {{4, {4.976903, -2.7e-05, -0.928571, -0.973477}},
                {5, {4.921862, 0.282289, -0.960815, -0.989579}},
                {6, {4.86682, 0.564606, -0.993058, -1.005681}},
                {7, {4.908101, 0.352869, -0.968875, -0.993604}},
                {9, {2.801618, 2.900113, 0.476471, 1.177342}},
                {10, {1.655493, 4.650145, 1.144733, 2.235643}},
                {12, {1.30704, 5.405259, 1.275525, 2.482104}},
                {14, {1.382485, 1.000396, 2.750919, 0.69193}},
                {18, {-0.263544, 1.797873, 4.31841, 1.523627}}},
               5e-5);
}

TEST(Dmd, IsExactOnLinearRecurrences) {
  const auto turning = [](int64_t t, int64_t i) {
    return std::pow(0.9, t) * std::cos(0.4 * static_cast<double>(t) + 0.3 * static_cast<double>(i)) +
           0.5 * std::pow(1.05, t);
  };
  const auto p = make_predictor(config("enable_dmd"), Forecast::kDmd);
  const auto at = [&](int64_t t) {
    Tensor y = empty({1, 5, 20}, kF32);
    for (int64_t i = 0; i < 100; ++i) y.data_ptr<float>()[i] = static_cast<float>(turning(t, i));
    return y;
  };
  for (int64_t t : {0, 2, 4, 6, 8, 10}) p->update(t, at(t), {});
  for (int64_t t : {11, 12, 15, 20}) EXPECT_LT((p->forecast(t, {}) - at(t)).abs().max().item<double>(), 1e-3) << t;
}

TEST(Dmd, KeepsRowsOfABatchApart) {
  const auto both = make_predictor(config("enable_dmd"), Forecast::kDmd),
             one = make_predictor(config("enable_dmd"), Forecast::kDmd);
  for (int64_t t = 0; t < 5; ++t) {
    both->update(t, field(t), {});
    one->update(t, field(t).slice(0, 1, 2), {});
  }
  EXPECT_TRUE(both->forecast(7, {}).slice(0, 1, 2).allclose(one->forecast(7, {}), 1e-5, 1e-5));
}

TEST(Dmd, OfZerosForecastsZeros) {
  const auto p = make_predictor(config("enable_dmd"), Forecast::kDmd);
  for (int64_t t = 0; t < 6; ++t) p->update(t, filled(0), {});
  EXPECT_EQ(p->forecast(7, {}).abs().max().item<double>(), 0);
}

TEST(Predictors, StartAfreshWhenTheShapeChanges) {
  for (auto kind : {Forecast::kHold, Forecast::kTaylorSeer, Forecast::kFoCa, Forecast::kDmd})
    for (bool compat : {false, true}) {
      const auto p = make_predictor(config("compat", compat), kind);
      for (int64_t t = 0; t < 6; ++t) p->update(t, filled(static_cast<double>(t)), {});
      const Tensor wider = filled(7, {1, 4, 12});
      EXPECT_FALSE(p->can_forecast(wider));
      p->update(6, wider, {});
      ASSERT_TRUE(p->can_forecast(wider));
      EXPECT_TRUE(p->forecast(8, {}).equal(wider));
      p->reset();
      EXPECT_FALSE(p->can_forecast(wider));
    }
}

TEST(Predictors, AddTheirForecastToTheBase) {
  for (auto kind : {Forecast::kHold, Forecast::kTaylorSeer, Forecast::kFoCa, Forecast::kDmd}) {
    const auto p = make_predictor(CacheConfig{}, kind);
    for (int64_t t = 0; t < 5; ++t) p->update(t, field(t) + 2.0, filled(2, {2, 3, 40}));
    const Tensor base = field(11), alone = p->forecast(6, {});
    EXPECT_TRUE(p->forecast(6, base).allclose(base + alone, 1e-5, 1e-5)) << static_cast<int>(kind);
  }
}

}  // namespace
}  // namespace cairn::diffusion
