#include "base/safetensors.h"

#include <gmock/gmock.h>

#include <filesystem>

namespace cairn {
namespace {

using testing::HasSubstr;

std::string file_with(const std::string& header, size_t data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(data, '\1');
}
std::string error_of(const std::string& bytes) {
  const auto r = parse_safetensors_header(bytes, bytes.size());
  return r ? "" : r.error().what;
}

TEST(Safetensors, ReadsEntriesAndMetadata) {
  const auto bytes =
      file_with(R"({"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})", 8);
  const auto h = parse_safetensors_header(bytes, bytes.size());
  ASSERT_TRUE(h) << h.error().what;
  EXPECT_EQ(h->metadata.at("a"), "b");
  EXPECT_EQ(h->entries.at("x").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(h->entries.at("x").end, bytes.size());
}

TEST(Safetensors, RefusesAHeaderLongerThanAnything) {
  std::string bytes = file_with("{}", 0);
  const uint64_t huge = uint64_t{1} << 60;
  bytes.replace(0, 8, reinterpret_cast<const char*>(&huge), 8);
  EXPECT_THAT(error_of(bytes), HasSubstr("claims a header of 1152921504606846976 bytes"));
}

TEST(Safetensors, RefusesOffsetsOutsideTheFile) {
  EXPECT_THAT(error_of(file_with(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7)),
              HasSubstr("tensor x: lies at bytes 0 to 8"));
  EXPECT_THAT(error_of(file_with(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8)),
              HasSubstr("tensor x"));
  EXPECT_THAT(error_of(file_with(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8)),
              HasSubstr("tensor x"));
}

TEST(Safetensors, RefusesShapesThatDoNotFitTheirBytes) {
  EXPECT_THAT(error_of(file_with(R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8)),
              HasSubstr("should take 12 bytes"));
  EXPECT_THAT(error_of(file_with(R"({"x":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,8]}})", 8)),
              HasSubstr("2^64"));
  EXPECT_THAT(error_of(file_with(R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}})", 8)),
              HasSubstr("shape with -1"));
  EXPECT_THAT(error_of(file_with(R"({"x":{"dtype":"Q9","shape":[1],"data_offsets":[0,8]}})", 8)),
              HasSubstr("unknown dtype \"Q9\""));
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const auto whole = file_with(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_NE(error_of(whole.substr(0, n)), "") << n;
  EXPECT_EQ(error_of(whole), "");
}

TEST(Safetensors, WritesWhatItReads) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("cairn-st-" + std::to_string(::getpid()) + ".safetensors");
  ASSERT_TRUE(write_safetensors(path, {{"a", "U8", {3}, "abc"}, {"b", "F32", {}, "wxyz"}}, {{"k", "v"}}));
  const auto f = SafetensorsFile::open(path);
  ASSERT_TRUE(f) << f.error().what;
  const auto& b = f->header.entries.at("b");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(f->map->data()) + b.begin, 4), "wxyz");
  EXPECT_EQ(f->header.metadata.at("k"), "v");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace cairn
