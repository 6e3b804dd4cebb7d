#include "image/metrics.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "image/golden.h"

namespace cairn::image {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

TEST(Metrics, AgreeWithScikitImageAndCacheDit) {
  const Json recorded = *Json::read(golden("metrics.json"));
  for (const char* name : {"near", "far"}) {
    const auto scores = compare(load_golden("source.png"), load_golden(std::string(name) + ".png"));
    ASSERT_TRUE(scores);
    const auto number = [&](const char* key) { return recorded.find(name)->find(key)->number(); };
    EXPECT_NEAR(scores->mse, number("mse"), 1e-12 * number("mse")) << name;
    EXPECT_NEAR(scores->psnr, number("psnr"), 1e-11) << name;
    EXPECT_NEAR(scores->psnr_wrapped, number("psnr_wrapped"), 1e-11) << name;
    EXPECT_NEAR(scores->ssim, number("ssim"), 1e-12) << name;
  }
}

TEST(Metrics, OfEqualPicturesArePerfect) {
  const Image source = load_golden("source.png");
  const auto scores = compare(source, source);
  ASSERT_TRUE(scores);
  EXPECT_EQ(scores->mse, 0);
  EXPECT_TRUE(std::isinf(scores->psnr));
  EXPECT_DOUBLE_EQ(scores->ssim, 1);
}

TEST(Metrics, RefuseOtherAndTooSmallSizes) {
  const auto mixed = compare(Image(9, 8), Image(8, 9));
  ASSERT_FALSE(mixed);
  EXPECT_THAT(mixed.error().what, HasSubstr("9 x 8 and 8 x 9"));
  EXPECT_FALSE(compare(Image(6, 9), Image(6, 9)));
  EXPECT_TRUE(compare(Image(7, 7), Image(7, 7)));
}

class ComparePaths : public FolderTest {
 protected:
  ComparePaths() {
    fs::create_directories(folder_ / "a" / "deep");
    fs::create_directories(folder_ / "b" / "deep");
  }
  void copy(const char* from, const std::string& to) const { fs::copy_file(golden(from), in(to)); }
};

TEST_F(ComparePaths, PairsFilesOfTwoFoldersByName) {
  copy("source.png", "a/1.png");
  copy("source.png", "b/1.png");
  copy("source.png", "a/deep/2.png");
  copy("far.png", "b/deep/2.png");
  ASSERT_TRUE(write_file(in("a/notes.txt"), "no picture"));
  const auto report = compare_paths(in("a"), in("b"));
  ASSERT_TRUE(report) << report.error().what;
  ASSERT_EQ(report->rows.size(), 2u);
  EXPECT_EQ(report->rows[0].name, "1.png");
  EXPECT_EQ(report->rows[1].name, "deep/2.png");
  EXPECT_DOUBLE_EQ(report->mean.mse, report->rows[1].scores.mse / 2);
  EXPECT_DOUBLE_EQ(report->mean.psnr, report->rows[1].scores.psnr) << "the equal pair has none";
}

TEST_F(ComparePaths, TakesTwoFiles) {
  const auto report = compare_paths(golden("source.png"), golden("source.png"));
  ASSERT_TRUE(report);
  ASSERT_EQ(report->rows.size(), 1u);
  EXPECT_EQ(report->rows[0].name, "source.png");
  EXPECT_TRUE(std::isinf(report->mean.psnr));
}

TEST_F(ComparePaths, NamesWhatDoesNotMatch) {
  EXPECT_THAT(compare_paths(in("a"), in("b")).error().what, HasSubstr("no pictures"));
  copy("source.png", "a/1.png");
  copy("source.png", "a/2.png");
  copy("turned6.webp.expected.png", "b/1.png");
  EXPECT_THAT(compare_paths(in("a"), in("b")).error().what,
              HasSubstr("2.png is in " + in("a") + " but not in " + in("b")));
  copy("source.png", "b/2.png");
  EXPECT_THAT(compare_paths(in("a"), in("b")).error().what,
              AllOf(HasSubstr(in("a/1.png")), HasSubstr("26 x 18 and 18 x 26")));
  EXPECT_THAT(compare_paths(in("a"), in("b/1.png")).error().what, HasSubstr("a folder with a file"));
  EXPECT_THAT(compare_paths(in("none.png"), in("b/1.png")).error().what, HasSubstr("none.png"));
}

}  // namespace
}  // namespace cairn::image
