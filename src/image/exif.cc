#include <algorithm>

#include "image/codecs.h"

namespace cairn::image {
namespace {

constexpr uint32_t kOrientationTag = 0x0112, kShortType = 3;

// Unsigned number of `size` bytes at `at`, or 0 beyond the end: every 0 below means "no orientation".
uint32_t number(std::string_view b, size_t at, size_t size, bool little) {
  if (at > b.size() || size > b.size() - at) return 0;
  uint32_t v = 0;
  for (size_t i = 0; i < size; ++i) v = v << 8 | static_cast<unsigned char>(b[little ? at + size - 1 - i : at + i]);
  return v;
}

}  // namespace

int exif_orientation(std::string_view tiff) {
  const bool little = tiff.starts_with("II");
  if ((!little && !tiff.starts_with("MM")) || number(tiff, 2, 2, little) != 42) return 1;
  const size_t directory = number(tiff, 4, 4, little);
  const size_t entries = number(tiff, directory, 2, little);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * 12;
    if (entry >= tiff.size()) break;
    if (number(tiff, entry, 2, little) != kOrientationTag) continue;
    const uint32_t value = number(tiff, entry + 8, 2, little);
    return number(tiff, entry + 2, 2, little) == kShortType && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  // As numbers in the standard go: 2 and 3 mirror x, 3 and 4 mirror y, 5..8 swap the axes.
  const bool swap = orientation >= 5;
  const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image out(swap ? image.height : image.width, swap ? image.width : image.height);
  for (int64_t y = 0; y < out.height; ++y) {
    for (int64_t x = 0; x < out.width; ++x) {
      int64_t from_x = swap ? y : x, from_y = swap ? x : y;
      if (mirror_x) from_x = image.width - 1 - from_x;
      if (mirror_y) from_y = image.height - 1 - from_y;
      std::copy_n(image.row(from_y) + from_x * 3, 3, out.row(y) + x * 3);
    }
  }
  return out;
}

}  // namespace cairn::image
