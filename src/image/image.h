// Pictures: 8-bit RGB in memory, and PNG, JPEG and WebP around it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace cairn::image {

constexpr int64_t kMostSide = 16384;               // pixels
constexpr int64_t kMostPixels = int64_t{1} << 28;  // 768 MiB of RGB

// Fails unless both sides are in 1..kMostSide and the product is at most kMostPixels.
Result<void> check_size(int64_t width, int64_t height);

// Rows from the top, three bytes a pixel, no padding: the byte of (x, y, channel) is rgb[(y * width + x) * 3 +
// channel].
struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;

  Image() = default;
  Image(int64_t w, int64_t h);                            // black; throws Failure for a size that check_size() refuses
  Image(int64_t w, int64_t h, std::vector<uint8_t> rgb);  // throws Failure when the bytes do not fit the size, too

  uint8_t* row(int64_t y) { return rgb.data() + y * width * 3; }
  const uint8_t* row(int64_t y) const { return rgb.data() + y * width * 3; }
  bool operator==(const Image&) const = default;
};

// Key and text in UTF-8, in the order of the file; a key may repeat.
using Metadata = std::vector<std::pair<std::string, std::string>>;

enum class Format { kPng, kJpeg, kWebp };

// By extension: .png, .jpg, .jpeg, .webp, in any case.
Result<Format> format_of_path(const std::string& path);

// A whole PNG, JPEG or still WebP, told apart by its first bytes. The pixels are those of Pillow's
// ImageOps.exif_transpose(Image.open(f)).convert("RGB"): alpha is dropped, 16-bit colour loses its low
// byte while 16-bit gray clips at 255, and the EXIF orientation is applied. Truncated and corrupt data is an error.
Result<Image> decode(std::string_view bytes);
Result<Image> load(const std::string& path);  // the same; errors name the path

// Bytes of a file. `quality` (1..100) is for JPEG and WebP, `metadata` for PNG (the others have no text and drop it):
// a key is 1 to 79 printable ASCII characters, a text must be UTF-8.
Result<std::string> encode(const Image& image, Format format, const Metadata& metadata = {}, int quality = 95);
Result<void> save(const std::string& path, const Image& image, const Metadata& metadata = {}, int quality = 95);

// The text chunks of a PNG (tEXt, zTXt, iTXt), wherever they stand. Pixels are not decoded.
Result<Metadata> decode_metadata(std::string_view bytes);
Result<Metadata> read_metadata(const std::string& path);

}  // namespace cairn::image
