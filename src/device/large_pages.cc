#include "device/large_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <mutex>
#include <new>

namespace cairn::device {
namespace {

constexpr size_t kPage = 2 << 20, kChunk = 4 * kPage, kLine = 64;

size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// Whole pages.
class Chunk {
 public:
  explicit Chunk(size_t bytes) : size_(rounded(bytes, kPage)), mapped_(size_ + kPage) {
    if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
    memory_ = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    data_ = reinterpret_cast<char*>(rounded(reinterpret_cast<size_t>(memory_), kPage));
    ::madvise(data_, size_, MADV_HUGEPAGE);  // a system without them gives small ones
  }
  ~Chunk() { ::munmap(memory_, mapped_); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  // The next `bytes` of it, or null.
  char* take(size_t bytes) {
    bytes = rounded(bytes, kLine);
    if (bytes > size_ - used_) return nullptr;
    used_ += bytes;
    return data_ + used_ - bytes;
  }

 private:
  size_t size_, mapped_, used_ = 0;
  void* memory_;
  char* data_;
};

}  // namespace

std::shared_ptr<void> on_large_pages(size_t bytes) {
  if (bytes >= kChunk / 2) {
    const auto own = std::make_shared<Chunk>(bytes);
    return {own, own->take(bytes)};
  }
  static std::mutex mutex;
  static std::weak_ptr<Chunk> latest;
  const std::lock_guard lock(mutex);
  auto chunk = latest.lock();
  char* data = chunk ? chunk->take(bytes) : nullptr;
  if (!data) {
    latest = chunk = std::make_shared<Chunk>(kChunk);
    data = chunk->take(bytes);
  }
  return {chunk, data};
}

}  // namespace cairn::device
