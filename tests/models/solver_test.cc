#include "diffusion/solver.h"

#include <gmock/gmock.h>

#include "base/file.h"
#include "models/golden.h"

namespace cairn::diffusion {
namespace {

using ::testing::HasSubstr;

TEST(FlowMatchEuler, GivesTheRecordedSigmasOfEverySetting) {
  // The reference writes NaN where one step is stretched to a terminal sigma: 0 / 0.
  std::string text = *read_file(cairn::testing::source_path("tests/golden/emoji/schedulers.json"));
  for (size_t at; (at = text.find("NaN")) != std::string::npos;) text.replace(at, 3, "null");
  const auto records = Json::parse(text);
  ASSERT_TRUE(records) << records.error().what;
  int compared = 0;
  for (const Json& r : *records->as_array()) {
    ASSERT_EQ(r.find("error"), nullptr) << r.dump();
    SCOPED_TRACE(r.find("config")->dump() + r.find("args")->dump());
    const auto config = *read<FlowMatchConfig>(*r.find("config"));
    const Json& args = *r.find("args");
    std::vector<double> given;
    if (const Json* s = args.find("sigmas"))
      for (const Json& v : *s->as_array()) given.push_back(v.number());
    const int64_t steps = args.find("num_inference_steps") ? *args.find("num_inference_steps")->as_int() : 0;
    const double mu = args.find("mu") ? args.find("mu")->number() : 0;
    const auto schedule = FlowMatchEuler(config).schedule(steps, given, mu);
    const auto &sigmas = *r.find("sigmas")->as_array(), &timesteps = *r.find("timesteps")->as_array();
    ++compared;
    if (sigmas[0].is_null()) {
      EXPECT_FALSE(schedule);
      continue;
    }
    ASSERT_TRUE(schedule) << schedule.error().what;
    ASSERT_EQ(schedule->sigmas.size(), sigmas.size());
    ASSERT_EQ(schedule->timesteps.size(), timesteps.size());
    for (size_t i = 0; i < sigmas.size(); ++i) EXPECT_NEAR(schedule->sigmas[i], sigmas[i].number(), 1e-6) << i;
    for (size_t i = 0; i < timesteps.size(); ++i) EXPECT_NEAR(schedule->timesteps[i], timesteps[i].number(), 1e-3) << i;
  }
  EXPECT_EQ(compared, 216);
}

TEST(FlowMatchEuler, RefusesSettingsThatMakeNoWalk) {
  FlowMatchConfig c;
  EXPECT_THAT(FlowMatchEuler(c).schedule(0, {}, 0).error().what, HasSubstr("steps must lie in"));
  EXPECT_THAT(FlowMatchEuler(c).schedule(1, {0.5, std::nan("")}, 0).error().what,
              HasSubstr("sigmas must lie in (0, 1]"));
  EXPECT_THAT(FlowMatchEuler(c).schedule(1, {-0.5}, 0).error().what, HasSubstr("sigmas"));
  c.use_karras_sigmas = c.use_exponential_sigmas = true;
  EXPECT_THROW(FlowMatchEuler{c}, Failure);
}

}  // namespace
}  // namespace cairn::diffusion
