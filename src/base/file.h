// Files: whole reads, read-only maps, and writes that either finish or leave nothing behind.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cairn {

// The whole file. Errors name the path and the system's reason; directories are refused.
Result<std::string> read_file(const std::string& path, size_t most_bytes = size_t{1} << 31);

// Writes next to `path` and renames, so that a reader never sees half a file and a failure leaves none.
// A path that is no regular file (/dev/stdout, a pipe) is written directly.
Result<void> write_file(const std::string& path, std::string_view bytes);

// A read-only map of a whole file, shared by whoever keeps a copy of the pointer.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace cairn
