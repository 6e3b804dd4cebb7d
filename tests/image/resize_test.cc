#include "image/resize.h"

#include <gmock/gmock.h>

#include "image/golden.h"

namespace cairn::image {
namespace {

using testing::Each;
using testing::HasSubstr;

Image filled(int64_t width, int64_t height, uint8_t byte) {
  Image image(width, height);
  std::fill(image.rgb.begin(), image.rgb.end(), byte);
  return image;
}

TEST(Resize, GivesTheBytesOfPillow) {
  const Image source = load_golden("source.png");
  const std::pair<const char*, Filter> filters[] = {
      {"bilinear", Filter::kBilinear}, {"bicubic", Filter::kBicubic}, {"lanczos", Filter::kLanczos}};
  for (const auto& [name, filter] : filters) {
    for (const auto& [w, h] : {std::pair{13, 9}, {41, 30}, {11, 33}, {33, 5}}) {
      const std::string file = std::string(name) + "." + std::to_string(w) + "x" + std::to_string(h) + ".png";
      EXPECT_EQ(*resize(source, w, h, filter), load_golden(file)) << file;
    }
  }
}

TEST(Resize, LeavesAnEqualSizeAlone) {
  const Image source = load_golden("source.png");
  EXPECT_EQ(*resize(source, source.width, source.height), source);
}

TEST(Resize, KeepsOneColour) {
  for (const Filter filter : {Filter::kBilinear, Filter::kBicubic, Filter::kLanczos}) {
    for (const auto& [w, h] : {std::pair{1, 1}, {200, 3}, {7, 90}}) {
      const auto out = resize(filled(31, 17, 203), w, h, filter);
      ASSERT_TRUE(out);
      EXPECT_EQ(out->rgb.size(), static_cast<size_t>(w * h * 3));
      EXPECT_THAT(out->rgb, Each(203));
    }
  }
}

TEST(Resize, RefusesSizesOutsideTheLimits) {
  EXPECT_FALSE(resize(Image(2, 2), 0, 5));
  EXPECT_FALSE(resize(Image(2, 2), 5, 16385));
  EXPECT_FALSE(resize(Image{}, 5, 5));
}

TEST(Grid, FillsRowsAndLeavesTheRestBlack) {
  const auto out = grid({filled(2, 1, 10), filled(2, 1, 20), filled(2, 1, 30)}, 2);
  ASSERT_TRUE(out);
  const std::vector<uint8_t> expected = {10, 10, 10, 10, 10, 10, 20, 20, 20, 20, 20, 20,
                                         30, 30, 30, 30, 30, 30, 0,  0,  0,  0,  0,  0};
  EXPECT_EQ(*out, Image(4, 2, expected));
  EXPECT_EQ(grid({filled(2, 1, 10)}, 5)->width, 2) << "no wider than the pictures that there are";
}

TEST(Grid, RefusesWhatDoesNotFit) {
  EXPECT_FALSE(grid({}, 1));
  EXPECT_FALSE(grid({Image(1, 1)}, 0));
  EXPECT_FALSE(grid(std::vector<Image>(3, Image(8000, 1)), 3)) << "wider than a picture may be";
  const auto mixed = grid({Image(3, 4), Image(4, 3)}, 2);
  ASSERT_FALSE(mixed);
  EXPECT_THAT(mixed.error().what, HasSubstr("3 x 4 and 4 x 3"));
}

TEST(SideBySide, PutsWhiteBetweenAndBelow) {
  const auto out = side_by_side({filled(1, 2, 10), filled(1, 1, 20)}, 1);
  ASSERT_TRUE(out);
  const std::vector<uint8_t> expected = {10, 10, 10, 255, 255, 255, 20,  20,  20,
                                         10, 10, 10, 255, 255, 255, 255, 255, 255};
  EXPECT_EQ(*out, Image(3, 2, expected));
  EXPECT_FALSE(side_by_side({}));
  EXPECT_FALSE(side_by_side({Image(1, 1)}, -1));
}

}  // namespace
}  // namespace cairn::image
