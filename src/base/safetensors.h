// The safetensors container: an eight-byte little-endian length, a JSON header that names arrays, and their bytes.
// (https://huggingface.co/docs/safetensors) Nothing here knows tensors; dtypes are the header's own words.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace cairn {

struct SafetensorsEntry {
  std::string dtype;  // "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, counted from the start of the file
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

// Bytes of one element, or 0 for a dtype that the format does not know.
uint64_t safetensors_dtype_size(std::string_view dtype);

// Reads and checks a header. `bytes` is the file, or at least its header; `file_size` the size of all of it.
// Every entry of the result lies inside the file and is as long as its shape and dtype say.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view bytes, uint64_t file_size);

// A mapped file. Views of its bytes stay valid as long as a copy of `map` lives.
struct SafetensorsFile {
  SafetensorsHeader header;
  std::shared_ptr<const MappedFile> map;

  static Result<SafetensorsFile> open(const std::string& path);
};

// One array to write: its name, dtype, shape and bytes.
struct SafetensorsArray {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::string_view bytes;
};
Result<void> write_safetensors(const std::string& path, const std::vector<SafetensorsArray>& arrays,
                               const std::map<std::string, std::string>& metadata = {});

}  // namespace cairn
