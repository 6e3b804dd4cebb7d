#include "kv/invariants.h"

#include <fmt/format.h>

#include <set>

namespace cairn::kv {

std::vector<std::string> invariants(const PoolSnapshot& pool) {
  std::vector<std::string> out;
  std::vector<bool> listed(pool.owners.size());
  for (const BlockId id : pool.free) {
    if (id < 0 || static_cast<size_t>(id) >= listed.size()) {
      out.push_back(fmt::format("the free list has block {} of {}", id, listed.size()));
    } else if (listed[static_cast<size_t>(id)]) {
      out.push_back(fmt::format("block {} is free twice", id));
    } else {
      listed[static_cast<size_t>(id)] = true;
    }
  }
  for (size_t id = 0; id < pool.owners.size(); ++id) {
    if (pool.owners[id] < 0) out.push_back(fmt::format("block {} has {} owners", id, pool.owners[id]));
    if ((pool.owners[id] == 0) != listed[id])
      out.push_back(fmt::format("block {} has {} owners and is {}free", id, pool.owners[id], listed[id] ? "" : "not "));
  }
  return out;
}

namespace {

std::vector<std::string> node_faults(const TreeSnapshot& tree, size_t i) {
  std::vector<std::string> out;
  const auto& node = tree.nodes[i];
  const auto bad = [&](const std::string& what) { out.push_back(fmt::format("node {}: {}", i, what)); };
  if (node.blocks.empty()) {
    bad("no blocks");
    return out;
  }
  if (node.tokens.size() != node.blocks.size() * static_cast<size_t>(tree.block_size)) {
    bad(fmt::format("{} tokens in {} blocks", node.tokens.size(), node.blocks.size()));
    return out;
  }
  const auto& parent = tree.nodes[static_cast<size_t>(node.parent)];
  if (node.parent != 0 && parent.identity != node.identity) bad("another identity than its parent's");
  Hash at = node.parent == 0 ? node.identity : parent.last;
  for (size_t b = 0; b < node.blocks.size(); ++b) {
    const auto size = static_cast<size_t>(tree.block_size);
    at = chained(node.identity, at, std::span(node.tokens).subspan(b * size, size));
    if (b == 0 && at != node.first) bad("its first hash is not that of its content");
  }
  if (at != node.last) bad("its last hash is not that of its content");
  return out;
}

}  // namespace

std::vector<std::string> invariants(const TreeSnapshot& tree, const PoolSnapshot& pool) {
  std::vector<std::string> out;
  if (tree.nodes.empty() || !tree.nodes[0].blocks.empty() || tree.nodes[0].candidate)
    return {"the root must exist, hold no block and never be evicted"};
  std::vector<int64_t> children(tree.nodes.size()), locks(tree.nodes.size());
  std::set<BlockId> seen;
  std::set<Hash> firsts;
  int64_t blocks = 0, idle = 0;
  for (size_t i = 1; i < tree.nodes.size(); ++i) {
    const auto& node = tree.nodes[i];
    if (node.parent < 0 || node.parent >= static_cast<int64_t>(i)) {
      out.push_back(fmt::format("node {}: its parent is {}", i, node.parent));
      continue;
    }
    ++children[static_cast<size_t>(node.parent)];
    locks[static_cast<size_t>(node.parent)] += node.locks;
    for (auto& fault : node_faults(tree, i)) out.push_back(std::move(fault));
    if (!firsts.insert(node.first).second) out.push_back(fmt::format("node {}: a second one with its first block", i));
    blocks += static_cast<int64_t>(node.blocks.size());
    if (node.locks == 0) idle += static_cast<int64_t>(node.blocks.size());
    for (const BlockId id : node.blocks) {
      if (!seen.insert(id).second) out.push_back(fmt::format("node {}: block {} is in the tree twice", i, id));
      if (id < 0 || static_cast<size_t>(id) >= pool.owners.size() || pool.owners[static_cast<size_t>(id)] < 1)
        out.push_back(fmt::format("node {}: block {} has no owner", i, id));
    }
  }
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    const auto& node = tree.nodes[i];
    if (node.locks < locks[i])
      out.push_back(fmt::format("node {}: {} locks, its children {}", i, node.locks, locks[i]));
    if (i > 0 && node.candidate != (node.locks == 0 && children[i] == 0))
      out.push_back(fmt::format("node {}: {} locks, {} children, yet {}evictable", i, node.locks, children[i],
                                node.candidate ? "" : "not "));
  }
  if (blocks != tree.blocks) out.push_back(fmt::format("the tree counts {} blocks and has {}", tree.blocks, blocks));
  if (idle != tree.evictable)
    out.push_back(fmt::format("the tree counts {} evictable blocks and has {}", tree.evictable, idle));
  return out;
}

}  // namespace cairn::kv
