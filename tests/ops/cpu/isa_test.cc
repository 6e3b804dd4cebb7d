#include "ops/cpu/isa.h"

#include <gmock/gmock.h>

namespace cairn::ops::cpu {
namespace {

TEST(Isa, TheBaselineRunsEverywhereAndIsTheLast) {
  const auto usable = usable_isas();
  ASSERT_FALSE(usable.empty());
  EXPECT_EQ(usable.back(), "baseline");
  for (const auto name : usable) {
    EXPECT_TRUE(use_isa(name));
    EXPECT_EQ(kernels().isa, name);
  }
  EXPECT_TRUE(use_isa(usable[0]));
}

TEST(Isa, ScratchIsAlignedAndGrows) {
  for (const int64_t bytes : {1, 1000, 100, 1 << 20}) {
    auto* p = static_cast<char*>(scratch(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    p[0] = p[bytes - 1] = 1;
  }
}

}  // namespace
}  // namespace cairn::ops::cpu
