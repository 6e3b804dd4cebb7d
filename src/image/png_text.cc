// Text chunks, by hand: reading them must not decode pixels, and writing them is a few lines.
#include <fmt/core.h>
#include <zlib.h>

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "image/codecs.h"

namespace cairn::image {
namespace {

constexpr size_t kMostKey = 79;                 // characters, by the PNG specification
constexpr size_t kMostText = size_t{16} << 20;  // of one compressed text, once it is inflated

uint32_t crc_of(std::string_view bytes) {
  return static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string latin1_to_utf8(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xc0 | byte >> 6);
      out += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return out;
}

Result<std::string> inflate_text(std::string_view data) {
  std::string out;
  // Doubles the room until the text fits: zlib's one-shot call cannot tell the size beforehand.
  for (size_t room = std::max<size_t>(data.size() * 4, 1024); room <= 2 * kMostText; room *= 2) {
    out.resize(std::min(room, kMostText));
    uLongf size = out.size();
    uLong used = data.size();
    const int code =
        ::uncompress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(data.data()), &used);
    if (code == Z_OK) return out.resize(size), out;
    if (code != Z_BUF_ERROR) return corrupt("a compressed text of this PNG is damaged");
  }
  return corrupt(fmt::format("a compressed text of this PNG is damaged or longer than {} bytes", kMostText));
}

// Cuts off the part before the next zero byte; nothing when there is none.
std::optional<std::string_view> cut_at_zero(std::string_view& data) {
  const size_t zero = data.find('\0');
  if (zero == std::string_view::npos) return std::nullopt;
  const std::string_view part = data.substr(0, zero);
  data.remove_prefix(zero + 1);
  return part;
}

Result<void> read_text(std::string_view type, std::string_view data, Metadata& out) {
  const auto key = cut_at_zero(data);
  const auto damaged = [&] { return corrupt(fmt::format("a {} chunk of this PNG is damaged", type)); };
  if (!key || key->empty()) return damaged();
  if (type == "tEXt") return out.emplace_back(latin1_to_utf8(*key), latin1_to_utf8(data)), Result<void>{};
  if (type == "zTXt") {
    if (data.empty() || data[0] != 0) return damaged();  // the one method there is: deflate
    const std::string text = TRY(inflate_text(data.substr(1)));
    return out.emplace_back(latin1_to_utf8(*key), latin1_to_utf8(text)), Result<void>{};
  }
  if (data.size() < 2 || data[0] > 1 || data[1] != 0) return damaged();
  const bool compressed = data[0] == 1;
  data.remove_prefix(2);
  if (!cut_at_zero(data) || !cut_at_zero(data)) return damaged();  // the language, and the key in that language
  std::string text = compressed ? TRY(inflate_text(data)) : std::string(data);
  if (!valid_utf8(text)) return damaged();
  out.emplace_back(latin1_to_utf8(*key), std::move(text));
  return {};
}

}  // namespace

Result<Metadata> decode_metadata(std::string_view bytes) {
  if (!bytes.starts_with(kPngSignature)) return invalid("only PNG pictures carry text, and this is none");
  Metadata out;
  bytes.remove_prefix(kPngSignature.size());
  for (;;) {
    // length, type, data, checksum of type and data
    if (bytes.size() < 12 || big_endian32(bytes.data()) > bytes.size() - 12) return corrupt("this PNG ends early");
    const size_t length = big_endian32(bytes.data());
    const std::string_view type = bytes.substr(4, 4);
    if (type == "IEND") return out;
    if (type == "tEXt" || type == "zTXt" || type == "iTXt") {
      if (crc_of(bytes.substr(4, 4 + length)) != big_endian32(bytes.data() + 8 + length))
        return corrupt(fmt::format("a {} chunk of this PNG is damaged", type));
      TRY_VOID(read_text(type, bytes.substr(8, length), out));
    }
    bytes.remove_prefix(12 + length);
  }
}

void append_png_chunk(std::string& out, std::string_view type, std::string_view data) {
  const auto put = [&out](uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(v >> shift & 0xff);
  };
  put(static_cast<uint32_t>(data.size()));
  const size_t start = out.size();
  out.append(type).append(data);
  put(crc_of(std::string_view(out).substr(start)));
}

Result<std::string> png_text_chunks(const Metadata& metadata) {
  std::string out;
  for (const auto& [key, text] : metadata) {
    const bool printable = std::all_of(key.begin(), key.end(), [](char c) { return c >= ' ' && c <= '~'; });
    if (key.empty() || key.size() > kMostKey || !printable || key.front() == ' ' || key.back() == ' ' ||
        key.find("  ") != std::string::npos)
      return invalid(
          fmt::format("\"{}\" cannot name a text of a PNG: 1 to {} ASCII characters, no spaces at the ends or "
                      "in a row",
                      key, kMostKey));
    if (!valid_utf8(text) || text.find('\0') != std::string::npos)
      return invalid(fmt::format("the text \"{}\" for the PNG must be UTF-8 without zero bytes", key));
    // Readers of the older chunk take it for Latin-1, so it serves only what is the same in both.
    if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
      append_png_chunk(out, "tEXt", key + '\0' + text);
    else
      append_png_chunk(out, "iTXt", key + std::string(5, '\0') + text);
  }
  return out;
}

}  // namespace cairn::image
