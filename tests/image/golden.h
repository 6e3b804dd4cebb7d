// The recorded pictures, and a folder that goes with the test.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "image/image.h"

namespace cairn::image {

inline std::string golden(const std::string& name) {
  return std::string(CAIRN_SOURCE_DIR) + "/tests/golden/image/" + name;
}

inline Image load_golden(const std::string& name) { return or_throw(load(golden(name))); }

class FolderTest : public testing::Test {
 protected:
  FolderTest() : folder_(std::filesystem::temp_directory_path() / ("cairn-image-test-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }
  std::string in(const std::string& name) const { return folder_ / name; }

  std::filesystem::path folder_;
};

}  // namespace cairn::image
