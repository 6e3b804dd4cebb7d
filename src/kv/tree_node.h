// The node of PrefixTree, for the units that implement it.
#pragma once
#include "kv/prefix_tree.h"

namespace cairn::kv {

struct PrefixTree::Node {
  Node* parent = nullptr;
  size_t position = 0;  // in parent->children
  std::vector<Node*> children;
  Hash identity;
  std::vector<Token> tokens;
  std::vector<BlockRef> blocks;
  std::vector<Hash> hashes;  // of each block
  int64_t locks = 0;         // holders of a lock at or below this node
  int64_t used = 0, created = 0, hits = 0;
  uint64_t serial = 0;
};

}  // namespace cairn::kv
