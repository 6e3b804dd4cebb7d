#include "kv/block_pool.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <limits>

namespace cairn::kv {

BlockPool::BlockPool(int64_t blocks, int64_t block_size) : block_size_(block_size) {
  constexpr int64_t kMost = std::numeric_limits<BlockId>::max();
  if (blocks < 1 || blocks > kMost)
    throw Failure(
        {Code::kInvalidArgument, fmt::format("a cache of {} blocks: from 1 to {} are possible", blocks, kMost)});
  if (block_size < 1 || block_size > 4096)
    throw Failure(
        {Code::kInvalidArgument, fmt::format("blocks of {} tokens: from 1 to 4096 are possible", block_size)});
  owners_.resize(static_cast<size_t>(blocks));
  free_.reserve(owners_.size());  // so that freeing a block never allocates
  for (int64_t id = blocks; id-- > 0;) free_.push_back(static_cast<BlockId>(id));
}

BlockPool::~BlockPool() {
  // A reference that outlives its pool would write into freed memory later, where nobody could tell why.
  if (used() == 0) return;
  std::fputs("kv::BlockPool: destroyed while blocks are in use\n", stderr);
  std::abort();
}

BlockRef BlockPool::allocate() {
  if (free_.empty()) return {};
  const BlockId id = free_.back();
  free_.pop_back();
  owners_[static_cast<size_t>(id)] = 1;
  return {this, id};
}

}  // namespace cairn::kv
