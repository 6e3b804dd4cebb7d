#include "base/strings.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(Strings, SplitKeepsEmptyParts) { EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"})); }

TEST(Strings, NearestForgivesDashesAndCaseButNotEverything) {
  const std::vector<std::string> words{"Fn_compute_blocks", "residual_diff_threshold"};
  EXPECT_EQ(nearest("fn-compute-block", words), "Fn_compute_blocks");
  EXPECT_EQ(nearest("banana", words), "");
}

TEST(Strings, Utf8IsCheckedAsTheStandardDemands) {
  EXPECT_TRUE(valid_utf8("aé猫🚀"));
  EXPECT_FALSE(valid_utf8("\xc0\xaf"));              // overlong
  EXPECT_FALSE(valid_utf8("\xed\xa0\x80"));          // surrogate
  EXPECT_FALSE(valid_utf8("\xf4\x90\x80\x80"));      // beyond U+10FFFF
  EXPECT_FALSE(valid_utf8("a\xe7\x8c"));             // cut short
}

TEST(Strings, BytesForPeople) {
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
}

}  // namespace
}  // namespace cairn
