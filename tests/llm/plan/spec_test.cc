#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "llm/plan/story.h"

namespace cairn::llm {
namespace {

const std::string kSpecs = std::string(CAIRN_SOURCE_DIR) + "/tests/specs/scheduler/";

std::vector<std::string> specs() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(kSpecs)) out.push_back(entry.path().stem().string());
  std::sort(out.begin(), out.end());
  return out;
}

class SchedulerSpec : public testing::TestWithParam<std::string> {};

TEST_P(SchedulerSpec, Holds) {
  const auto text = read_file(kSpecs + GetParam() + ".test");
  ASSERT_TRUE(text);
  tell(GetParam() + ".test", *text);
}

INSTANTIATE_TEST_SUITE_P(All, SchedulerSpec, testing::ValuesIn(specs()), [](const auto& parameter) {
  std::string name = parameter.param;
  std::erase_if(name, [](char c) { return c == '-'; });
  return name;
});

TEST(SchedulerSpecs, CanFail) {
  EXPECT_NONFATAL_FAILURE(tell("x", "pool blocks=8 size=4\nsubmit a prompt=4\nstep\nexpect prefill a[0,3)*"),
                          "a[0,4)*");
  EXPECT_NONFATAL_FAILURE(tell("x", "pool blocks=8 size=4\nsubmit a prompt=4\nstep\nexpect used=3"), "used=3");
  EXPECT_NONFATAL_FAILURE(tell("x", "pool blocks=8 size=4\nwalk"), "no such event: walk");
}

}  // namespace
}  // namespace cairn::llm
