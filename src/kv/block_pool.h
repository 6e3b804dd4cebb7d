// Who owns which block of the paged cache. A block is `block_size` tokens of keys and values in all layers; this
// counts owners and moves no bytes. Everything in kv/ belongs to one thread, the engine's: nothing here locks.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "base/result.h"

namespace cairn::kv {

using BlockId = int32_t;  // index into the first dimension of the cache
class BlockPool;

// One of the owners of a block, which is free again when the last of them goes. Move-only: share() makes another owner.
// The pool must outlive it.
class BlockRef {
 public:
  BlockRef() = default;
  BlockRef(BlockRef&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
  BlockRef& operator=(BlockRef&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~BlockRef() { reset(); }

  explicit operator bool() const { return pool_ != nullptr; }
  BlockId id() const { return id_; }
  BlockRef share() const;
  void reset();

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, BlockId id) : pool_(pool), id_(id) {}
  BlockPool* pool_ = nullptr;
  BlockId id_ = -1;
};

// What invariants() needs to know of a pool.
struct PoolSnapshot {
  int64_t block_size = 0;
  std::vector<int32_t> owners;  // of every block
  std::vector<BlockId> free;
};

class BlockPool {
 public:
  // Throws a Failure for sizes that make no sense. A cache may have more blocks than its pool: the further ones are
  // nobody's, for the padding of a batch.
  BlockPool(int64_t blocks, int64_t block_size);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  BlockRef allocate();  // an empty reference when no block is free
  int64_t size() const { return static_cast<int64_t>(owners_.size()); }
  int64_t block_size() const { return block_size_; }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int64_t used() const { return size() - free(); }
  int32_t owners(BlockId id) const { return owners_[static_cast<size_t>(id)]; }
  // How many blocks hold that many tokens.
  int64_t blocks_for(int64_t tokens) const { return (tokens + block_size_ - 1) / block_size_; }

  PoolSnapshot snapshot() const { return {block_size_, owners_, free_}; }

 private:
  friend class BlockRef;
  int64_t block_size_;
  std::vector<int32_t> owners_;
  std::vector<BlockId> free_;  // a stack: the block freed last is the warmest
};

inline BlockRef BlockRef::share() const {
  if (!pool_) return {};
  ++pool_->owners_[static_cast<size_t>(id_)];
  return {pool_, id_};
}

inline void BlockRef::reset() {
  if (!pool_) return;
  if (--pool_->owners_[static_cast<size_t>(id_)] == 0) pool_->free_.push_back(id_);
  pool_ = nullptr;
}

}  // namespace cairn::kv
