// What the tests of this folder share.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kv/invariants.h"

namespace cairn::kv {

inline const Hash kPlain = Identity{"model", "bf16", "", ""}.hash();

inline std::vector<BlockRef> take(BlockPool& pool, size_t count) {
  std::vector<BlockRef> out;
  for (size_t i = 0; i < count; ++i) out.push_back(pool.allocate());
  return out;
}

inline std::vector<BlockId> ids(const std::vector<BlockRef>& blocks) {
  std::vector<BlockId> out;
  for (const BlockRef& b : blocks) out.push_back(b.id());
  return out;
}

inline std::vector<std::string> faults(const BlockPool& pool) { return invariants(pool.snapshot()); }
inline std::vector<std::string> faults(const PrefixTree& tree, const BlockPool& pool) {
  auto out = faults(pool);
  for (auto& fault : invariants(tree.snapshot(), pool.snapshot())) out.push_back(std::move(fault));
  return out;
}

// Computes `tokens` in fresh blocks and caches them, as a request does that then ends. Returns the blocks' ids.
inline std::vector<BlockId> cache(PrefixTree& tree, BlockPool& pool, const std::vector<Token>& tokens,
                                  const Hash& identity = kPlain) {
  auto blocks = take(pool, tokens.size() / static_cast<size_t>(pool.block_size()));
  tree.insert(identity, tokens, blocks);
  return ids(blocks);
}

}  // namespace cairn::kv
