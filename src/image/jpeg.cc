#include <fmt/core.h>

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE
#include <cstdlib>
#include <cstring>

#include <jpeglib.h>
// after jpeglib.h, which it needs
#include <jerror.h>

#include "image/codecs.h"

namespace cairn::image {
namespace {

constexpr int kMostScans = 500;                   // of a progressive file: each costs a walk over all pixels
constexpr long kMostCoefficientBytes = 1L << 30;  // of a progressive file, which is held whole before it becomes pixels
constexpr std::string_view kExifHeader("Exif\0\0", 6);

// libjpeg calls exit() by default. Here an error jumps back to the frame that called into it; such frames hold nothing
// with a destructor.
struct Trap {
  jpeg_error_mgr manager;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];

  void set(jpeg_common_struct* codec) {
    codec->err = jpeg_std_error(&manager);
    manager.error_exit = on_error;
    manager.emit_message = on_warning;
    manager.output_message = [](j_common_ptr) {};
    std::strcpy(message, "out of memory");
    codec->client_data = this;
  }
  static void on_error(j_common_ptr codec) {
    auto* self = static_cast<Trap*>(codec->client_data);
    codec->err->format_message(codec, self->message);
    std::longjmp(self->back, 1);
  }
  // Only those warnings that stand for lost pixels are errors: cameras write harmless oddities.
  static void on_warning(j_common_ptr codec, int level) {
    const int code = codec->err->msg_code;
    if (level < 0 && (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_ARITH_BAD_CODE))
      on_error(codec);
  }
};

boolean no_more_bytes(j_decompress_ptr codec) {
  ERREXIT(codec, JERR_INPUT_EOF);
  return FALSE;
}

void skip_bytes(j_decompress_ptr codec, long count) {
  if (count <= 0) return;
  if (static_cast<size_t>(count) > codec->src->bytes_in_buffer) no_more_bytes(codec);
  codec->src->next_input_byte += count;
  codec->src->bytes_in_buffer -= static_cast<size_t>(count);
}

struct Reader {
  jpeg_decompress_struct codec{};
  Trap trap;
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};
  int orientation = 1;

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { jpeg_destroy_decompress(&codec); }

  static void on_progress(j_common_ptr codec) {
    if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number <= kMostScans) return;
    auto* at = static_cast<Trap*>(codec->client_data);
    std::strcpy(at->message, "it has too many scans");
    std::longjmp(at->back, 1);
  }

  bool read_header(std::string_view bytes) {
    trap.set(reinterpret_cast<j_common_ptr>(&codec));
    if (setjmp(trap.back)) return false;
    jpeg_create_decompress(&codec);
    codec.mem->max_memory_to_use = kMostCoefficientBytes;
    source.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source.bytes_in_buffer = bytes.size();
    source.init_source = [](j_decompress_ptr) {};
    source.fill_input_buffer = no_more_bytes;
    source.skip_input_data = skip_bytes;
    source.resync_to_restart = jpeg_resync_to_restart;
    source.term_source = [](j_decompress_ptr) {};
    codec.src = &source;
    progress.progress_monitor = on_progress;
    codec.progress = &progress;
    jpeg_save_markers(&codec, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&codec, TRUE);
    find_orientation();
    codec.out_color_space = codec.num_components == 4 ? JCS_CMYK : JCS_RGB;
    return true;
  }

  // `line` holds one row of `codec.output_components` bytes a pixel.
  bool read_pixels(Image& image, uint8_t* line) {
    if (setjmp(trap.back)) return false;
    jpeg_start_decompress(&codec);
    while (codec.output_scanline < codec.output_height) {
      uint8_t* row = image.row(codec.output_scanline);
      JSAMPROW to = codec.output_components == 4 ? line : row;
      jpeg_read_scanlines(&codec, &to, 1);
      if (codec.output_components == 4) cmyk_to_rgb(line, image.width, row);
    }
    jpeg_finish_decompress(&codec);
    return true;
  }

  // Adobe writes CMYK inverted, and Pillow takes every file for Adobe's: a sample is the share of light that an ink
  // lets through. The rounding is Pillow's, of products of 0..255.
  static void cmyk_to_rgb(const uint8_t* cmyk, int64_t width, uint8_t* rgb) {
    for (int64_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
      const unsigned light = cmyk[3];
      for (int i = 0; i < 3; ++i) {
        const unsigned product = (255u - cmyk[i]) * light + 128;
        rgb[i] = static_cast<uint8_t>(light - ((product >> 8) + product) / 256);
      }
    }
  }

  // Right after the header: finishing frees the markers.
  void find_orientation() {
    for (const auto* marker = codec.marker_list; marker; marker = marker->next) {
      const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (!data.starts_with(kExifHeader)) continue;
      orientation = exif_orientation(data.substr(kExifHeader.size()));
      return;
    }
  }
};

struct Writer {
  jpeg_compress_struct codec{};
  Trap trap;
  unsigned char* bytes = nullptr;
  unsigned long size = 0;

  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() {
    jpeg_destroy_compress(&codec);
    std::free(bytes);
  }

  bool write(const Image& image, int quality) {
    trap.set(reinterpret_cast<j_common_ptr>(&codec));
    if (setjmp(trap.back)) {
      bytes = nullptr;  // after an error it may be a buffer that libjpeg has outgrown and freed
      return false;
    }
    jpeg_create_compress(&codec);
    jpeg_mem_dest(&codec, &bytes, &size);
    codec.image_width = static_cast<JDIMENSION>(image.width);
    codec.image_height = static_cast<JDIMENSION>(image.height);
    codec.input_components = 3;
    codec.in_color_space = JCS_RGB;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, quality, TRUE);
    jpeg_start_compress(&codec, TRUE);
    while (codec.next_scanline < codec.image_height) {
      auto* row = const_cast<JSAMPROW>(image.row(codec.next_scanline));  // libjpeg only reads it
      jpeg_write_scanlines(&codec, &row, 1);
    }
    jpeg_finish_compress(&codec);
    return true;
  }
};

}  // namespace

Result<Image> decode_jpeg(std::string_view bytes) {
  Reader reader;
  const auto unreadable = [&] { return corrupt(fmt::format("not a readable JPEG: {}", reader.trap.message)); };
  if (!reader.read_header(bytes)) return unreadable();
  TRY_VOID(check_size(reader.codec.image_width, reader.codec.image_height));
  // Huffman codes spend a bit on every 8 x 8 block at least; eight times that leaves room for arithmetic coding. So a
  // small file with a large header is found out before memory is taken.
  constexpr int64_t kMostPixelsPerByte = 8 * 512;
  if (int64_t{reader.codec.image_width} * reader.codec.image_height / kMostPixelsPerByte > std::ssize(bytes))
    return corrupt("not a readable JPEG: the file ends early, it is too short for its size in pixels");
  Image image(reader.codec.image_width, reader.codec.image_height);
  std::vector<uint8_t> line(static_cast<size_t>(image.width) * 4);
  if (!reader.read_pixels(image, line.data())) return unreadable();
  return upright(std::move(image), reader.orientation);
}

Result<std::string> encode_jpeg(const Image& image, int quality) {
  Writer writer;
  if (!writer.write(image, quality))
    return failure(Code::kInternal, fmt::format("cannot write a JPEG: {}", writer.trap.message));
  return std::string(reinterpret_cast<const char*>(writer.bytes), writer.size);
}

}  // namespace cairn::image
