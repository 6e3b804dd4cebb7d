#include "image/image.h"

#include <fmt/core.h>

#include <new>
#include <optional>

#include "base/file.h"
#include "base/strings.h"
#include "image/codecs.h"

namespace cairn::image {
namespace {

std::optional<Format> format_of_bytes(std::string_view bytes) {
  if (bytes.starts_with(kPngSignature)) return Format::kPng;
  if (bytes.starts_with("\xff\xd8\xff")) return Format::kJpeg;
  if (bytes.starts_with("RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") return Format::kWebp;
  return std::nullopt;
}

Result<Image> decode_as(Format format, std::string_view bytes) {
  switch (format) {
    case Format::kPng:
      return decode_png(bytes);
    case Format::kJpeg:
      return decode_jpeg(bytes);
    case Format::kWebp:
      return decode_webp(bytes);
  }
  throw Bug("unknown picture format");
}

}  // namespace

Result<void> check_size(int64_t width, int64_t height) {
  if (width < 1 || height < 1 || width > kMostSide || height > kMostSide || width * height > kMostPixels)
    return invalid(fmt::format("a picture of {} x {} pixels is outside the limits: sides of 1 to {}, {} pixels in all",
                               width, height, kMostSide, kMostPixels));
  return {};
}

Image::Image(int64_t w, int64_t h) : width(w), height(h) {
  or_throw(check_size(w, h));
  rgb.resize(static_cast<size_t>(w * h * 3));
}

Image::Image(int64_t w, int64_t h, std::vector<uint8_t> bytes) : width(w), height(h), rgb(std::move(bytes)) {
  or_throw(check_size(w, h));
  if (rgb.size() != static_cast<size_t>(w * h * 3))
    throw Failure(
        {Code::kInvalidArgument, fmt::format("{} bytes are no RGB picture of {} x {} pixels", rgb.size(), w, h)});
}

Result<Format> format_of_path(const std::string& path) {
  const size_t dot = path.find_last_of("./");
  const std::string extension = dot == std::string::npos || path[dot] == '/' ? "" : lower_ascii(path.substr(dot));
  if (extension == ".png") return Format::kPng;
  if (extension == ".jpg" || extension == ".jpeg") return Format::kJpeg;
  if (extension == ".webp") return Format::kWebp;
  return invalid(
      fmt::format("cannot tell the picture format of {}: its name should end in .png, .jpg, .jpeg or .webp", path));
}

Result<Image> decode(std::string_view bytes) {
  const auto format = format_of_bytes(bytes);
  if (!format) return corrupt(bytes.empty() ? "the file is empty" : "this is no PNG, JPEG or WebP picture");
  // A hostile header may ask for more memory than there is while it keeps within the limits.
  try {
    return caught([&] { return or_throw(decode_as(*format, bytes)); });
  } catch (const std::bad_alloc&) {
    return failure(Code::kExhausted, "there is not enough memory to decode this picture");
  }
}

Result<Image> load(const std::string& path) {
  const std::string bytes = TRY(read_file(path));
  auto image = decode(bytes);
  if (!image) return tl::unexpected(within(path, std::move(image).error()));
  return image;
}

Result<std::string> encode(const Image& image, Format format, const Metadata& metadata, int quality) {
  TRY_VOID(check_size(image.width, image.height));
  check(image.rgb.size() == static_cast<size_t>(image.width * image.height * 3),
        "encode: the bytes do not fit the size");
  if (quality < 1 || quality > 100) return invalid(fmt::format("quality {} is outside 1 to 100", quality));
  switch (format) {
    case Format::kPng:
      return encode_png(image, metadata);
    case Format::kJpeg:
      return encode_jpeg(image, quality);
    case Format::kWebp:
      return encode_webp(image, quality);
  }
  throw Bug("unknown picture format");
}

Result<void> save(const std::string& path, const Image& image, const Metadata& metadata, int quality) {
  const Format format = TRY(format_of_path(path));
  auto bytes = encode(image, format, metadata, quality);
  if (!bytes) return tl::unexpected(within(path, std::move(bytes).error()));
  return write_file(path, *bytes);
}

Result<Metadata> read_metadata(const std::string& path) {
  const std::string bytes = TRY(read_file(path));
  auto metadata = decode_metadata(bytes);
  if (!metadata) return tl::unexpected(within(path, std::move(metadata).error()));
  return metadata;
}

}  // namespace cairn::image
