// What a device allows, as benchmarks measure it on the device itself.
#include "app/ceilings.h"

#include <gmock/gmock.h>

#include "device/under_test.h"

namespace cairn::app {
namespace {

TEST(Ceilings, OfAProductAreMeasuredOnTheDeviceAtASideThatLastsThere) {
  MatmulCeiling ceiling(device_under_test(), kF32);
  for (int i = 0; i < 3; ++i) ceiling.measure();
  EXPECT_GT(ceiling.value(), 0);
  EXPECT_GE(ceiling.best(), ceiling.value());
  EXPECT_GE(ceiling.side(), 2048);
  EXPECT_LE(ceiling.side(), device_under_test().is_cpu() ? 2048 : 8192);
}

TEST(Ceilings, OfMemoryAreWhatAProcessorReadsAndAnAcceleratorCopies) {
  MemoryCeiling ceiling(device_under_test(), 64 << 20);
  for (int i = 0; i < 2; ++i) ceiling.measure();
  EXPECT_GT(ceiling.value(), 0);
  EXPECT_STREQ(ceiling.way(), device_under_test().is_cpu() ? "a plain loop reads" : "copies move");
}

}  // namespace
}  // namespace cairn::app
