#include "base/file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

namespace cairn {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() : folder_(fs::temp_directory_path() / ("cairn-file-test-" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~FileTest() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(FileTest, WritesAndReadsBack) {
  const std::string path = folder_ / "a.txt";
  ASSERT_TRUE(write_file(path, "one"));
  ASSERT_TRUE(write_file(path, "two"));
  EXPECT_EQ(*read_file(path), "two");
  struct stat info {};
  ::stat(path.c_str(), &info);
  EXPECT_EQ(info.st_mode & 0444, 0444u) << "readable by others, as the umask allows";
}

TEST_F(FileTest, AFailedWriteLeavesNothing) {
  EXPECT_FALSE(write_file(folder_ / "missing" / "a.txt", "x"));
  EXPECT_FALSE(write_file(folder_, "x"));
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST(File, AFullDeviceIsAnError) {
  const auto r = write_file("/dev/full", "x");
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().what, testing::HasSubstr("No space left"));
}

TEST_F(FileTest, MissingAndEmptyFilesAreNamed) {
  const auto missing = MappedFile::open(folder_ / "none");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().what, testing::HasSubstr("none: No such file"));
  ASSERT_TRUE(write_file(folder_ / "empty", ""));
  EXPECT_FALSE(MappedFile::open(folder_ / "empty"));
  EXPECT_FALSE(MappedFile::open(folder_));
}

TEST_F(FileTest, AMapOutlivesTheFileName) {
  const std::string path = folder_ / "m";
  ASSERT_TRUE(write_file(path, "bytes"));
  const auto map = *MappedFile::open(path);
  fs::remove(path);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(map->data()), map->size()), "bytes");
}

}  // namespace
}  // namespace cairn
