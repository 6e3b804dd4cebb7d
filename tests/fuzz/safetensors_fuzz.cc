// Any bytes as a safetensors file: the header is refused, or every entry lies in the file and is as long as it says.
#include <cstdint>
#include <string_view>

#include "base/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // A file may be larger than what was read of it; the last byte picks by how much.
  const uint64_t file_size = size + (size == 0 ? 0 : uint64_t{data[size - 1]} << (data[size - 1] % 57));
  const auto header = cairn::parse_safetensors_header(bytes, file_size);
  if (!header) {
    cairn::check(!header.error().what.empty(), "an error without words");
    return 0;
  }
  for (const auto& [name, entry] : header->entries) {
    cairn::check(entry.begin <= entry.end && entry.end <= file_size, "an entry outside the file");
    unsigned __int128 length = cairn::safetensors_dtype_size(entry.dtype);
    for (const int64_t n : entry.shape) {
      cairn::check(n >= 0, "a negative size");
      length *= static_cast<uint64_t>(n);
    }
    cairn::check(length == entry.end - entry.begin, "an entry whose length is not its shape's");
  }
  return 0;
}
