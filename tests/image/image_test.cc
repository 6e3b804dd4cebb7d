#include "image/image.h"

#include <gmock/gmock.h>

#include "base/file.h"
#include "image/golden.h"
#include "image/metrics.h"

namespace cairn::image {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class Decoding : public testing::TestWithParam<const char*> {};

TEST_P(Decoding, GivesThePixelsOfPillow) {
  const auto image = load(golden(GetParam()));
  ASSERT_TRUE(image) << image.error().what;
  EXPECT_EQ(*image, load_golden(std::string(GetParam()) + ".expected.png"));
}

TEST_P(Decoding, RefusesEveryPrefix) {
  const std::string bytes = *read_file(golden(GetParam()));
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode(std::string(bytes, 0, size))) << size << " of " << bytes.size();
}

TEST_P(Decoding, OutlivesEveryDamagedByte) {
  const std::string bytes = *read_file(golden(GetParam()));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const char damage : {'\x01', '\x80', '\xff'}) {
      std::string copy = bytes;
      copy[i] = static_cast<char>(copy[i] ^ damage);
      const auto image = decode(copy);  // may still be a picture
      if (image)
        EXPECT_EQ(image->rgb.size(), static_cast<size_t>(image->width * image->height * 3));
      else
        EXPECT_NE(image.error().what, "");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, Decoding,
                         testing::Values("alpha.png", "palette4.png", "bilevel.png", "gray16.png", "photo.jpg",
                                         "progressive.jpg", "gray.jpg", "cmyk.jpg", "lossless.webp", "lossy.webp",
                                         "turned1.jpg", "turned2.jpg", "turned3.jpg", "turned4.jpg", "turned5.png",
                                         "turned6.webp", "turned7.jpg", "turned8.jpg"));

TEST(Image, RefusesSizesOutsideTheLimits) {
  EXPECT_TRUE(check_size(1, 1));
  EXPECT_TRUE(check_size(kMostSide, kMostSide));
  for (const auto& [w, h] : {std::pair{0, 1}, {1, 0}, {-1, 5}, {16385, 1}, {1, 16385}})
    EXPECT_FALSE(check_size(w, h)) << w << " x " << h;
  EXPECT_FALSE(check_size(int64_t{1} << 33, int64_t{1} << 33));
  EXPECT_THROW(Image(0, 3), Failure);
  EXPECT_THROW(Image(2, 2, std::vector<uint8_t>(11)), Failure);
}

TEST(Image, KnowsTheFormatFromTheName) {
  EXPECT_EQ(format_of_path("a.PNG"), Format::kPng);
  EXPECT_EQ(format_of_path("b/c.jpeg"), Format::kJpeg);
  EXPECT_EQ(format_of_path("x.y.webp"), Format::kWebp);
  for (const char* name : {"a", "png", "a.png/b", "a.gif", ""}) {
    const auto format = format_of_path(name);
    ASSERT_FALSE(format) << name;
    EXPECT_THAT(format.error().what, HasSubstr(".png, .jpg, .jpeg or .webp"));
  }
}

using Saving = FolderTest;

TEST_F(Saving, KeepsEveryPixelInPng) {
  const Image source = load_golden("source.png");
  for (const char* name : {"a.png", "B.PNG"}) {
    ASSERT_TRUE(save(in(name), source));
    EXPECT_EQ(*load(in(name)), source);
  }
  ASSERT_TRUE(save(in("one.png"), Image(1, 1)));
  EXPECT_EQ(*load(in("one.png")), Image(1, 1));
}

TEST_F(Saving, KeepsTheLookInJpegAndWebp) {
  Image slope(64, 48);
  for (int64_t y = 0; y < 48; ++y)
    for (int64_t x = 0; x < 64 * 3; ++x) slope.row(y)[x] = static_cast<uint8_t>(x + y);
  for (const char* name : {"a.jpg", "a.jpeg", "a.webp"}) {
    ASSERT_TRUE(save(in(name), slope, {}, 95)) << name;
    const size_t fine = fs::file_size(in(name));
    const Image back = *load(in(name));
    EXPECT_GT(compare(slope, back)->psnr, 35) << name;
    ASSERT_TRUE(save(in(name), slope, {}, 10)) << name;
    EXPECT_LT(fs::file_size(in(name)), fine) << name;
  }
}

TEST_F(Saving, ThatFailsLeavesNoFile) {
  const Image source = load_golden("source.png");
  const auto unknown = save(in("a.tiff"), source);
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().what, AllOf(HasSubstr("a.tiff"), HasSubstr(".webp")));
  EXPECT_FALSE(save(in("missing/a.png"), source));
  EXPECT_FALSE(save(in("a.png"), source, {}, 0));
  EXPECT_FALSE(save(in("a.jpg"), source, {}, 101));
  EXPECT_FALSE(save(in("a.png"), Image{}));
  const auto long_side = save(in("a.webp"), Image(16384, 1));
  ASSERT_FALSE(long_side);
  EXPECT_THAT(long_side.error().what, AllOf(HasSubstr("16383"), HasSubstr("a.webp")));
  const auto bad_text = save(in("a.png"), source, {{"prompt", "\xff"}});
  ASSERT_FALSE(bad_text);
  EXPECT_THAT(bad_text.error().what, AllOf(HasSubstr("a.png"), HasSubstr("prompt"), HasSubstr("UTF-8")));
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(Saving, OnAFullDiskLeavesNoFile) {
  fs::create_symlink("/dev/full", folder_ / "full.png");
  const auto full = save(in("full.png"), load_golden("source.png"));
  ASSERT_FALSE(full);
  EXPECT_THAT(full.error().what, AllOf(HasSubstr("full.png"), HasSubstr("No space left")));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "only the link to the device";
}

using Loading = FolderTest;

TEST_F(Loading, NamesTheFileThatIsNoPicture) {
  ASSERT_TRUE(write_file(in("text.png"), "just words\n"));
  const auto text = load(in("text.png"));
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().what, AllOf(HasSubstr("text.png"), HasSubstr("no PNG, JPEG or WebP")));
  ASSERT_TRUE(write_file(in("empty.png"), ""));
  EXPECT_THAT(load(in("empty.png")).error().what, AllOf(HasSubstr("empty.png"), HasSubstr("empty")));
  const auto missing = load(in("none.png"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_FALSE(load(folder_));
}

TEST_F(Loading, GoesByTheBytesNotTheName) {
  fs::copy_file(golden("photo.jpg"), folder_ / "photo.png");
  EXPECT_EQ(*load(in("photo.png")), load_golden("photo.jpg.expected.png"));
}

TEST_F(Loading, PrintsNothing) {
  testing::internal::CaptureStderr();
  std::string bytes = *read_file(golden("photo.jpg"));
  for (size_t i = 2; i < bytes.size(); i += 7) {
    std::string copy = bytes;
    copy[i] = static_cast<char>(copy[i] ^ 0x55);
    (void)decode(copy);
  }
  bytes = *read_file(golden("palette4.png"));
  for (size_t i = 8; i < bytes.size(); ++i) {
    std::string copy = bytes;
    copy[i] = static_cast<char>(copy[i] ^ 0x55);
    (void)decode(copy);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace cairn::image
