#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cairn {
namespace {

tl::unexpected<Error> system_error(const std::string& action, const std::string& path, int number) {
  const Code code = number == ENOENT || number == ENOTDIR ? Code::kNotFound
                    : number == ENOSPC || number == EDQUOT ? Code::kExhausted
                                                           : Code::kInvalidArgument;
  return failure(code, "cannot " + action + " " + path + ": " + std::strerror(number));
}

// Closes on destruction; close() reports what closing itself says (a full disk may show only then).
struct Descriptor {
  int fd;
  explicit Descriptor(int f) : fd(f) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  int close() {
    const int r = ::close(fd) == 0 ? 0 : errno;
    fd = -1;
    return r;
  }
};

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

}  // namespace

Result<std::string> read_file(const std::string& path, size_t most_bytes) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return system_error("read", path, errno);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return system_error("read", path, errno);
  if (S_ISDIR(info.st_mode)) return system_error("read", path, EISDIR);
  std::string out;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("read", path, errno);
    if (n == 0) return out;
    out.append(buffer, static_cast<size_t>(n));
    if (out.size() > most_bytes) return invalid(path + " is larger than " + std::to_string(most_bytes) + " bytes");
  }
}

Result<void> write_file(const std::string& path, std::string_view bytes) {
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) return system_error("write", path, EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {
    Descriptor device(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (device.fd < 0) return system_error("write", path, errno);
    if (const int e = write_all(device.fd, bytes)) return system_error("write", path, e);
    if (const int e = device.close()) return system_error("write", path, e);
    return {};
  }
  std::string temporary = path + ".XXXXXX";
  Descriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (file.fd < 0) return system_error("write", path, errno);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  int e = ::fchmod(file.fd, 0666 & ~mask) == 0 ? 0 : errno;
  if (!e) e = write_all(file.fd, bytes);
  if (const int closed = file.close(); !e) e = closed;
  if (!e && ::rename(temporary.c_str(), path.c_str()) != 0) e = errno;
  if (e) {
    ::unlink(temporary.c_str());
    return system_error("write", path, e);
  }
  return {};
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return system_error("read", path, errno);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return system_error("read", path, errno);
  if (!S_ISREG(info.st_mode)) return system_error("read", path, S_ISDIR(info.st_mode) ? EISDIR : EINVAL);
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return corrupt(path + " is empty");
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) return system_error("map", path, errno);
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(data_), size_); }

}  // namespace cairn
