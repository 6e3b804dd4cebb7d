#include <gtest/gtest.h>

#include <cstdlib>

#include "bed.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* libpython = std::getenv("CAIRN_LIBPYTHON");
  if (!libpython) return std::fprintf(stderr, "run fake_cann_test, which sets the environment\n"), 1;
  fake::start(libpython, nullptr);
  fake::room({1});  // torch_npu starts with its first tensor
  return RUN_ALL_TESTS();
}
