#include "tensor/arena.h"

#include <ATen/ops/from_blob.h>

#include <array>
#include <bit>
#include <mutex>
#include <new>
#include <vector>

namespace cairn {
namespace {

constexpr std::align_val_t kAlignment{64};

thread_local Arena* used = nullptr;

}  // namespace

struct Arena::Blocks {
  ~Blocks() {
    for (void* block : all) ::operator delete(block, kAlignment);
  }
  void* take(int size_class) {
    const std::lock_guard lock(mutex);
    auto& free = freed[static_cast<size_t>(size_class)];
    if (free.empty()) {
      all.reserve(all.size() + 1);
      free.reserve(all.size() + 1);
      all.push_back(::operator new(size_t{1} << size_class, kAlignment));
      bytes += int64_t{1} << size_class;
      return all.back();
    }
    void* block = free.back();
    free.pop_back();
    return block;
  }
  void give(int size_class, void* block) {
    const std::lock_guard lock(mutex);
    freed[static_cast<size_t>(size_class)].push_back(block);
  }

  std::mutex mutex;
  std::array<std::vector<void*>, 63> freed;
  std::vector<void*> all;
  int64_t bytes = 0;
};

Arena::Arena() : blocks_(std::make_shared<Blocks>()) {}

Arena::Use::Use(Arena& arena) : before_(std::exchange(used, &arena)) {}
Arena::Use::~Use() { used = before_; }
Arena* Arena::current() { return used; }

Tensor Arena::empty(at::IntArrayRef shape, Dtype dtype) {
  size_t bytes = c10::elementSize(dtype);
  for (const int64_t n : shape) {
    check(n >= 0, "a tensor has no negative sizes");
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(n), &bytes) || bytes >> 62) throw std::bad_alloc();
  }
  const int size_class = std::countr_zero(std::bit_ceil(std::max<size_t>(bytes, 64)));
  void* data = blocks_->take(size_class);
  return at::from_blob(
      data, shape, [blocks = blocks_, size_class](void* block) { blocks->give(size_class, block); },
      at::TensorOptions().dtype(dtype));
}

int64_t Arena::bytes() const {
  const std::lock_guard lock(blocks_->mutex);
  return blocks_->bytes;
}

Tensor borrowed(const Tensor& t) {
  return at::for_blob(t.mutable_data_ptr(), t.sizes())
      .strides(t.strides())
      .options(t.options())
      .target_device(t.device())
      .make_tensor();
}

}  // namespace cairn
