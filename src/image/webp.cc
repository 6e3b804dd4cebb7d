#include <fmt/core.h>
#include <webp/decode.h>
#include <webp/encode.h>

#include "image/codecs.h"

namespace cairn::image {
namespace {

constexpr size_t kRiffHeader = 12, kChunkHeader = 8;
constexpr std::string_view kExifHeader("Exif\0\0", 6);  // some writers keep JPEG's prefix

// Of the EXIF chunk in the RIFF container, which libwebp's decoder passes over.
int orientation_of(std::string_view riff) {
  riff.remove_prefix(kRiffHeader);
  while (riff.size() >= kChunkHeader) {
    const auto byte = [&](size_t i) { return size_t{static_cast<unsigned char>(riff[i])}; };
    const size_t length = byte(4) | byte(5) << 8 | byte(6) << 16 | byte(7) << 24;
    const size_t padded = length + (length & 1);
    if (riff.starts_with("EXIF")) {
      std::string_view exif = riff.substr(kChunkHeader, length);
      if (exif.starts_with(kExifHeader)) exif.remove_prefix(kExifHeader.size());
      return exif_orientation(exif);
    }
    if (padded > riff.size() - kChunkHeader) break;
    riff.remove_prefix(kChunkHeader + padded);
  }
  return 1;
}

const char* reason(VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "out of memory";
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return "the file ends early";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it uses an unsupported feature";
    default:
      return "its data is damaged";
  }
}

struct Picture : WebPPicture {
  Picture() { check(WebPPictureInit(this), "the libwebp found at run time is another version"); }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;
  ~Picture() { WebPPictureFree(this); }
};

struct Bytes : WebPMemoryWriter {
  Bytes() { WebPMemoryWriterInit(this); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  ~Bytes() { WebPMemoryWriterClear(this); }
};

}  // namespace

Result<Image> decode_webp(std::string_view bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPDecoderConfig config;
  check(WebPInitDecoderConfig(&config), "the libwebp found at run time is another version");
  const auto unreadable = [](VP8StatusCode code) {
    return corrupt(fmt::format("not a readable WebP: {}", reason(code)));
  };
  if (const auto code = WebPGetFeatures(data, bytes.size(), &config.input); code != VP8_STATUS_OK)
    return unreadable(code);
  if (config.input.has_animation)
    return failure(Code::kUnsupported, "this WebP is animated; only still pictures are read");
  TRY_VOID(check_size(config.input.width, config.input.height));
  Image image(config.input.width, config.input.height);
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.rgb.data();
  config.output.u.RGBA.stride = static_cast<int>(image.width * 3);
  config.output.u.RGBA.size = image.rgb.size();
  const auto code = WebPDecode(data, bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (code != VP8_STATUS_OK) return unreadable(code);
  return upright(std::move(image), orientation_of(bytes));
}

Result<std::string> encode_webp(const Image& image, int quality) {
  if (image.width > WEBP_MAX_DIMENSION || image.height > WEBP_MAX_DIMENSION)
    return invalid(fmt::format("WebP pictures have sides of at most {} pixels; this is {} x {}, save it as PNG",
                               WEBP_MAX_DIMENSION, image.width, image.height));
  WebPConfig config;
  check(WebPConfigPreset(&config, WEBP_PRESET_DEFAULT, static_cast<float>(quality)), "libwebp refused its own preset");
  Bytes out;
  Picture picture;
  picture.width = static_cast<int>(image.width);
  picture.height = static_cast<int>(image.height);
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &out;
  if (!WebPPictureImportRGB(&picture, image.rgb.data(), static_cast<int>(image.width * 3)) ||
      !WebPEncode(&config, &picture))
    return failure(Code::kInternal,
                   fmt::format("cannot write a WebP: libwebp's error {}", static_cast<int>(picture.error_code)));
  return std::string(reinterpret_cast<const char*>(out.mem), out.size);
}

}  // namespace cairn::image
