#include <gmock/gmock.h>

#include <set>

#include "app/commands.h"
#include "app/tune_front.h"
#include "app/tune_grid.h"
#include "base/yaml.h"
#include "diffusion/cache/step_cache.h"

namespace cairn::app {

namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Measured measured(const std::string& name, double speedup, double psnr, double work = 2) {
  return {{name, "none", {}, {}}, {{speedup, work, psnr, 0.9}}, "1"};
}

TEST(TuneGrid, FitsAnyModelAndLength) {
  for (const int64_t depth : {1, 2, 3, 11, 57})
    for (const int64_t steps : {2, 4, 5, 8, 28, 50})
      for (const bool quick : {false, true}) {
        std::set<std::string> names;
        for (const auto& c : cache_grid(steps, depth, quick)) {
          EXPECT_TRUE(names.insert(c.name).second) << c.name;
          const auto fits = diffusion::RequestCache(c.config).fits({{"blocks", depth}});
          EXPECT_TRUE(fits) << c.name << " at depth " << depth << ": " << fits.error().what;
          EXPECT_EQ(static_cast<int64_t>(c.config.mask ? c.config.mask->size() : 0), c.config.mask ? steps : 0);
        }
        EXPECT_TRUE(depth == 1 || names.size() > (quick ? 10 : 50)) << names.size();
      }
}

TEST(TuneFront, HoldsWhatNothingBeats) {
  const std::vector<Measured> all{measured("fast", 3, 30),
                                  measured("beaten", 2, 35),
                                  measured("good", 2.5, 40),
                                  measured("best", 1.5, 50),
                                  measured("skips nothing", 1.1, 99, 1),
                                  measured("slow", 0.9, 60)};
  EXPECT_THAT(pareto_front(all, 1), ElementsAre(3, 2, 0));
  EXPECT_THAT(pareto_front(all, 2), ElementsAre());
}

TEST(TuneFront, LeavesOutWhatFewerPromptsMeasured) {
  std::vector<Measured> all{measured("lucky", 3, 60), measured("sure", 2, 40)};
  all[1].samples.push_back({2, 2, 42, 0.9});
  EXPECT_THAT(pareto_front(all, 2), ElementsAre(1));
  EXPECT_EQ(all[1].psnr(), 41);
  EXPECT_EQ(all[1].worst_psnr(), 40);
}

TEST(TuneFront, ChoosesTheFastestThatIsGoodEnough) {
  const std::vector<Measured> all{measured("fast", 3, 30), measured("good", 2.5, 40), measured("best", 1.5, 50)};
  const auto front = pareto_front(all, 1);
  EXPECT_EQ(choose(all, front, 40, {}), 1u);
  EXPECT_EQ(choose(all, front, {}, 2.0), 1u);
  EXPECT_EQ(choose(all, front, 29, 2.0), 0u);
  EXPECT_EQ(choose(all, front, 45, 2.0), std::nullopt);
  EXPECT_EQ(choose(all, front, 60, {}), std::nullopt);
}

TEST(TuneFront, WritesFilesThatGenerateReads) {
  for (auto& c : cache_grid(28, 11, false)) {
    Measured m{c, {{2, 2, 40, 0.9}}, "1"};
    const auto json = parse_yaml(to_yaml(m, "a model: with a colon"));
    ASSERT_TRUE(json) << json.error().what;
    const auto config = diffusion::parse_cache_config(*json);
    ASSERT_TRUE(config) << c.name << ": " << config.error().what;
    EXPECT_EQ(write(*config), write(c.config)) << c.name;
  }
}

TEST(TunePlot, DrawsEveryPointAndEscapesNames) {
  const std::vector<Measured> all{measured("a<b", 3, 30), measured("good", 2.5, 40)};
  const std::string svg = front_svg("x & y", all, pareto_front(all, 1));
  EXPECT_THAT(svg, HasSubstr("a&lt;b: 3.00 times, 30.0 dB"));
  EXPECT_THAT(svg, HasSubstr("x &amp; y"));
  EXPECT_THAT(svg, HasSubstr("<polyline"));
  EXPECT_THAT(front_svg("nothing", {}, {}), testing::Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace cairn::app
