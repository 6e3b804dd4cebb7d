#include <fmt/core.h>

#include <algorithm>

#include "image/resize.h"

namespace cairn::image {
namespace {

void paste(Image& onto, const Image& image, int64_t left, int64_t top) {
  for (int64_t y = 0; y < image.height; ++y) std::copy_n(image.row(y), image.width * 3, onto.row(top + y) + left * 3);
}

Result<void> none_is_empty(const std::vector<Image>& images) {
  if (images.empty()) return invalid("there are no pictures to join");
  for (const Image& image : images) TRY_VOID(check_size(image.width, image.height));
  return {};
}

}  // namespace

Result<Image> grid(const std::vector<Image>& images, int64_t columns) {
  TRY_VOID(none_is_empty(images));
  const auto count = static_cast<int64_t>(images.size());
  if (columns < 1) return invalid(fmt::format("a grid needs at least one column, not {}", columns));
  const Image& first = images.front();
  for (const Image& image : images) {
    if (image.width != first.width || image.height != first.height)
      return invalid(fmt::format("pictures of {} x {} and {} x {} pixels do not fit one grid", first.width,
                                 first.height, image.width, image.height));
  }
  columns = std::min(columns, count);
  const int64_t rows = (count + columns - 1) / columns;
  TRY_VOID(check_size(columns * first.width, rows * first.height));
  Image out(columns * first.width, rows * first.height);
  for (int64_t i = 0; i < count; ++i)
    paste(out, images[static_cast<size_t>(i)], i % columns * first.width, i / columns * first.height);
  return out;
}

Result<Image> side_by_side(const std::vector<Image>& images, int64_t gap) {
  TRY_VOID(none_is_empty(images));
  if (gap < 0 || gap > kMostSide) return invalid(fmt::format("a gap of {} pixels is outside 0 to {}", gap, kMostSide));
  int64_t width = gap * static_cast<int64_t>(images.size() - 1), height = 0;
  for (const Image& image : images) {
    width += image.width;
    height = std::max(height, image.height);
  }
  TRY_VOID(check_size(width, height));
  Image out(width, height);
  std::fill(out.rgb.begin(), out.rgb.end(), uint8_t{255});
  int64_t left = 0;
  for (const Image& image : images) {
    paste(out, image, left, 0);
    left += image.width + gap;
  }
  return out;
}

}  // namespace cairn::image
