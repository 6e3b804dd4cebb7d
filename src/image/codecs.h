// One decoder and encoder per format, behind image.h. Errors do not name the file: they do not know it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "image/image.h"

namespace cairn::image {

// EXIF orientation: 1 is upright, 2..8 are the mirrored and turned cases in the order of the EXIF standard.
// Anything that is not a well formed EXIF block (TIFF header onwards) counts as 1.
int exif_orientation(std::string_view tiff);
Image upright(Image image, int orientation);

Result<Image> decode_png(std::string_view bytes);
Result<Image> decode_jpeg(std::string_view bytes);
Result<Image> decode_webp(std::string_view bytes);

Result<std::string> encode_png(const Image& image, const Metadata& metadata);
Result<std::string> encode_jpeg(const Image& image, int quality);
Result<std::string> encode_webp(const Image& image, int quality);

constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

// The chunks of a PNG for metadata, ready to stand before the pixels.
Result<std::string> png_text_chunks(const Metadata& metadata);
void append_png_chunk(std::string& out, std::string_view type, std::string_view data);

inline uint32_t big_endian32(const char* p) {
  const auto byte = [p](int i) { return uint32_t{static_cast<unsigned char>(p[i])}; };
  return byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
}

}  // namespace cairn::image
