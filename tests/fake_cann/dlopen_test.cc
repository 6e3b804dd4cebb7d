#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace {
TEST(Dlopen, AProgramThatDoesNotLinkTorchNpuRunsOnIt) {
  const std::string library = std::string(std::getenv("CAIRN_TORCH_NPU")) + "/lib/libtorch_npu.so";
  const std::string command = std::string(FAKE_CANN_BED) + "/fake_cann_dlopen " + std::getenv("CAIRN_LIBPYTHON") + " ";
  EXPECT_EQ(std::system((command + library).c_str()), 0);
}
TEST(Dlopen, TheProgramFindsNoFakeByItself) {
  const std::string command = "env -u LD_LIBRARY_PATH ldd " + std::string(FAKE_CANN_BED) + "/fake_cann_dlopen";
  EXPECT_NE(std::system((command + " | grep -E 'ascendcl|opapi|hccl|torch_npu'").c_str()), 0);
}
}  // namespace
