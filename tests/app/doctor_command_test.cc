// What `cairn doctor` prints, seen from outside.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cstdio>

#include "base/json.h"

namespace cairn::app {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

struct Printed {
  int status;
  std::string text;
};
Printed run(const std::string& before, const std::string& flags) {
  std::FILE* pipe = ::popen((before + " " CAIRN_PROGRAM " doctor " + flags + " 2>&1 </dev/null").c_str(), "r");
  Printed out{-1, ""};
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.text.append(buffer, n);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) out.status = WEXITSTATUS(status);
  return out;
}

TEST(DoctorCommand, PrintsATableOrJsonOfThisMachine) {
  const auto table = run("", "");
  EXPECT_THAT(table.status, AnyOf(0, 1)) << table.text;
  for (const char* part : {"System\n", "Program\n", "libtorch", "embedded weights", " failed\n"})
    EXPECT_THAT(table.text, HasSubstr(part));
  const auto json = or_throw(Json::parse(run("", "--json").text));
  int64_t total = 0;
  for (const auto& [verdict, count] : *json.find("summary")->as_object()) total += *count.as_int();
  EXPECT_EQ(static_cast<size_t>(total), json.find("checks")->as_array()->size());
  for (const Json& c : *json.find("checks")->as_array())
    EXPECT_THAT(c.text("status"), AnyOf("ok", "warn", "fail", "skip")) << c.dump();
}

TEST(DoctorCommand, FailsForWhatFailedAndStrictlyForWarnings) {
  const auto bad = run("STREAMS_PER_DEVICE=9", "");
  EXPECT_EQ(bad.status, 1);
  EXPECT_THAT(bad.text, HasSubstr("mend: export STREAMS_PER_DEVICE=32"));
  const auto noise = run("STREAMS_PER_DEVICE=$(printf '9\\033[2J\\377')", "--json");
  EXPECT_EQ(noise.status, 1);
  EXPECT_TRUE(Json::parse(noise.text));
  EXPECT_THAT(noise.text, HasSubstr("9\\\\x1b[2J\\\\xff is none of 8, 32"));
  EXPECT_EQ(run("ASCEND_LAUNCH_BLOCKING=1", "--strict").status, 1);
  EXPECT_EQ(run("", "--nonsense").status, 1);
}

}  // namespace
}  // namespace cairn::app
