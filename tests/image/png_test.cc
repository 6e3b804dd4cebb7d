#include <gmock/gmock.h>

#include "base/file.h"
#include "image/codecs.h"
#include "image/golden.h"

namespace cairn::image {
namespace {

using testing::HasSubstr;

std::string bytes_of(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}

// A PNG of 8-bit RGB with that size in its header and no pixels worth it.
std::string claims(uint32_t width, uint32_t height) {
  std::string png(kPngSignature);
  append_png_chunk(png, "IHDR", bytes_of(width) + bytes_of(height) + std::string("\x08\x02\0\0\0", 5));
  append_png_chunk(png, "IDAT", std::string("\x78\x9c\x03\x00\x00\x00\x00\x01", 8));  // zlib's form of nothing
  append_png_chunk(png, "IEND", "");
  return png;
}

TEST(Png, RefusesAbsurdSizesBeforeItTakesMemory) {
  for (const auto& [w, h] : {std::pair{0x7fffffffu, 0x7fffffffu}, {16385u, 1u}, {1u, 100000u}}) {
    const auto image = decode(claims(w, h));
    ASSERT_FALSE(image);
    EXPECT_THAT(image.error().what, HasSubstr("outside the limits")) << w;
  }
  const auto within_limits = decode(claims(16384, 16384));
  ASSERT_FALSE(within_limits);
  EXPECT_THAT(within_limits.error().what, HasSubstr("too short for its size"));
}

TEST(Png, RefusesZeroAndNegativeSizes) {
  for (const auto& [w, h] : {std::pair{0u, 1u}, {1u, 0u}, {0u, 0u}, {0x80000000u, 1u}, {1u, 0xffffffffu}})
    EXPECT_FALSE(decode(claims(w, h))) << w << " x " << h;
}

TEST(Png, RefusesPixelsThatAreMissing) {
  const auto image = decode(claims(3, 3));
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Code::kCorrupt);
}

TEST(Png, WritesWhatItReadsForEveryWidth) {
  for (int64_t width = 1; width < 40; ++width) {
    Image image(width, 5);
    for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * i * 37 + i / 7);
    EXPECT_EQ(*decode(*encode(image, Format::kPng)), image) << width;
  }
}

TEST(Png, SplitsLargePicturesIntoChunksThatReadBack) {
  Image image(700, 900);  // noise: more compressed bytes than one IDAT holds
  uint32_t state = 1;
  for (uint8_t& byte : image.rgb) byte = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  const std::string png = *encode(image, Format::kPng);
  size_t chunks = 0;
  for (size_t at = 0; (at = png.find("IDAT", at)) != std::string::npos; ++at) ++chunks;
  EXPECT_GE(chunks, 2u);
  EXPECT_EQ(*decode(png), image);
}

TEST(PngText, KeepsKeysTextsAndTheirOrder) {
  const Metadata metadata = {{"prompt", "a cat"}, {"Title", "schöne Grüße 猫 🐈"}, {"prompt", ""}, {"lines", "a\nb"}};
  const std::string png = *encode(load_golden("source.png"), Format::kPng, metadata);
  EXPECT_EQ(*decode_metadata(png), metadata);
  EXPECT_EQ(*decode(png), load_golden("source.png"));
  EXPECT_THAT(png, HasSubstr(std::string("tEXtprompt\0a cat", 16)));
  EXPECT_THAT(png, HasSubstr(std::string("iTXtTitle\0\0\0\0\0", 14)));
}

TEST(PngText, ReadsWhatOthersWrite) {
  // zTXt and a compressed iTXt after the pixels, and Latin-1
  std::string png = claims(1, 1).substr(0, claims(1, 1).size() - 12);
  append_png_chunk(png, "tEXt", std::string("Author\0caf\xe9", 11));
  const std::string hello("\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15", 13);
  append_png_chunk(png, "zTXt", std::string("zip\0\0", 5) + hello);
  append_png_chunk(png, "iTXt", std::string("wide\0\1\0de\0weit\0", 15) + hello);
  append_png_chunk(png, "IEND", "");
  EXPECT_EQ(*decode_metadata(png), (Metadata{{"Author", "café"}, {"zip", "hello"}, {"wide", "hello"}}));
}

TEST(PngText, RefusesDamagedChunks) {
  const auto with = [](std::string_view type, std::string_view data) {
    std::string png(kPngSignature);
    append_png_chunk(png, type, data);
    append_png_chunk(png, "IEND", "");
    return decode_metadata(png);
  };
  EXPECT_TRUE(with("tEXt", std::string_view("k\0v", 3)));
  EXPECT_FALSE(with("tEXt", "no separator"));
  EXPECT_FALSE(with("tEXt", std::string_view("\0v", 2)));
  EXPECT_FALSE(with("zTXt", std::string_view("k\0\0garbage", 10)));
  EXPECT_FALSE(with("zTXt", std::string_view("k\0", 2)));
  EXPECT_FALSE(with("iTXt", std::string_view("k\0\0\0", 4)));
  EXPECT_FALSE(with("iTXt", std::string_view("k\0\0\0\0\0\xff", 7)));
  std::string png = *encode(Image(1, 1), Format::kPng, {{"key", "text"}});
  png[png.find("text")] = 'T';  // the checksum no longer fits
  EXPECT_FALSE(decode_metadata(png));
  EXPECT_FALSE(decode_metadata("\xff\xd8\xff"));
}

TEST(PngText, RefusesEveryPrefix) {
  const std::string png = *encode(Image(2, 2), Format::kPng, {{"a", "b"}, {"c", "ü"}});
  for (size_t size = 0; size < png.size(); ++size) EXPECT_FALSE(decode_metadata(png.substr(0, size))) << size;
}

TEST(PngText, RefusesKeysThatTheFormatForbids) {
  for (const std::string& key : {std::string(), std::string(80, 'k'), std::string(" a"), std::string("a "),
                                 std::string("a  b"), std::string("ü"), std::string("a\nb"), std::string("a\0b", 3)})
    EXPECT_FALSE(encode(Image(1, 1), Format::kPng, {{key, "v"}})) << key;
  EXPECT_FALSE(encode(Image(1, 1), Format::kPng, {{"k", std::string("a\0b", 3)}}));
  EXPECT_TRUE(encode(Image(1, 1), Format::kPng, {{std::string(79, 'k'), "v"}}));
}

TEST(PngText, ErrorsNameTheFile) {
  const auto metadata = read_metadata(golden("photo.jpg"));
  ASSERT_FALSE(metadata);
  EXPECT_THAT(metadata.error().what, HasSubstr("photo.jpg"));
}

}  // namespace
}  // namespace cairn::image
