// Any bytes as a picture (the seeds are PNG; JPEG and WebP are told apart by their first bytes) and as PNG text.
#include <cstdint>
#include <string_view>

#include "image/image.h"

namespace {

// Clearing hundreds of megabytes of pixels for a header that only claims them would leave a few inputs a second. What
// the library does with such a claim is a unit test of tests/image.
bool claims_much(const uint8_t* data, size_t size) {
  if (size < 24 || data[0] != 0x89) return false;
  const auto number = [&](size_t at) {
    return uint64_t{data[at]} << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3];
  };
  return number(16) > 256 || number(20) > 256;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (claims_much(data, size)) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto image = cairn::image::decode(bytes)) {
    const auto pixels = static_cast<size_t>(image->width) * static_cast<size_t>(image->height);
    cairn::check(image->width > 0 && image->height > 0 && image->rgb.size() == 3 * pixels, "a picture of another size");
  } else {
    cairn::check(!image.error().what.empty(), "an error without words");
  }
  if (const auto metadata = cairn::image::decode_metadata(bytes)) {
    for (const auto& [key, text] : *metadata) cairn::check(!key.empty(), "a text without a key");
  }
  return 0;
}
