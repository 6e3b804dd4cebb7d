#include <fmt/core.h>
#include <png.h>

#include <cstring>

#include "image/codecs.h"

namespace cairn::image {
namespace {

// libpng reports errors by longjmp. So every call that can fail sits in a member below whose frame holds nothing but
// the jump buffer; objects with destructors live in decode_png() and in this struct, which no jump skips.
struct Reader {
  explicit Reader(std::string_view bytes) : left(bytes) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png) info = png_create_info_struct(png);
    if (!png || !info) std::strcpy(message, "out of memory");
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }

  static void on_error(png_structp png, png_const_charp text) {
    auto* self = static_cast<Reader*>(png_get_error_ptr(png));
    std::strncpy(self->message, text, sizeof self->message - 1);
    png_longjmp(png, 1);
  }
  static void on_read(png_structp png, png_bytep to, size_t size) {
    auto* self = static_cast<Reader*>(png_get_io_ptr(png));
    if (size > self->left.size()) png_error(png, "the file ends early");
    std::memcpy(to, self->left.data(), size);
    self->left.remove_prefix(size);
  }

  bool read_header() {
    if (!info || setjmp(png_jmpbuf(png))) return false;
    png_set_read_fn(png, this, on_read);
    // Our own limits are tighter and are checked by decode_png(), with a better message.
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_read_info(png, info);
    width = png_get_image_width(png, info);
    height = png_get_image_height(png, info);
    raw_row = png_get_rowbytes(png, info);
    return true;
  }

  // Asks for rows of RGB, or of 16-bit gray as it is; takes memory for a row or two.
  bool start() {
    if (setjmp(png_jmpbuf(png))) return false;
    const int type = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
    gray16 = type == PNG_COLOR_TYPE_GRAY && depth == 16;
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (depth == 16 && !gray16) png_set_strip_16(png);
    png_set_strip_alpha(png);
    if (!(type & PNG_COLOR_MASK_COLOR) && !gray16) png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return true;
  }

  bool read_pixels(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png))) return false;
    png_read_image(png, rows);
    png_read_end(png, info);
    png_uint_32 size = 0;
    png_bytep exif = nullptr;
    if (png_get_eXIf_1(png, info, &size, &exif) && exif)
      orientation = exif_orientation({reinterpret_cast<const char*>(exif), size});
    return true;
  }

  std::string_view left;
  png_structp png = nullptr;
  png_infop info = nullptr;
  char message[128] = {};
  png_uint_32 width = 0, height = 0;
  size_t raw_row = 0;
  bool gray16 = false;
  int orientation = 1;
};

// Whether every chunk up to the end lies inside the file. libpng takes memory for what a chunk claims, up to 2 GB,
// before it looks for it.
bool chunks_fit(std::string_view bytes) {
  constexpr size_t kAround = 12;  // length, type and checksum
  for (size_t at = 8; at + kAround <= bytes.size();) {
    const auto* p = reinterpret_cast<const unsigned char*>(bytes.data()) + at;
    const size_t length = size_t{p[0]} << 24 | size_t{p[1]} << 16 | size_t{p[2]} << 8 | p[3];
    if (length > bytes.size() - at - kAround) return false;
    if (bytes.substr(at + 4, 4) == "IEND") return true;
    at += kAround + length;
  }
  return false;
}

}  // namespace

Result<Image> decode_png(std::string_view bytes) {
  if (!chunks_fit(bytes)) return corrupt("not a readable PNG: the file ends early");
  Reader reader(bytes);
  const auto unreadable = [&] { return corrupt(fmt::format("not a readable PNG: {}", reader.message)); };
  if (!reader.read_header()) return unreadable();
  TRY_VOID(check_size(reader.width, reader.height));
  // deflate shrinks by at most 1032, so a small file with a large header is found out before memory is taken.
  constexpr size_t kMostRatio = 1032;
  if (reader.raw_row * reader.height / kMostRatio > bytes.size())
    return corrupt("not a readable PNG: the file ends early, it is too short for its size in pixels");
  Image image(reader.width, reader.height);
  if (!reader.start()) return unreadable();
  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  check(row_bytes == static_cast<size_t>(image.width) * (reader.gray16 ? 2 : 3), "decode_png: unexpected row size");
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (int64_t y = 0; y < image.height; ++y) rows[static_cast<size_t>(y)] = image.row(y);
  if (!reader.read_pixels(rows.data())) return unreadable();
  if (reader.gray16) {
    // Pillow keeps such values as they are and clips at 255 when it converts; from the right end, as rows grow in
    // place.
    for (png_bytep row : rows)
      for (int64_t x = image.width - 1; x >= 0; --x) std::memset(row + x * 3, row[x * 2] ? 255 : row[x * 2 + 1], 3);
  }
  return upright(std::move(image), reader.orientation);
}

}  // namespace cairn::image
