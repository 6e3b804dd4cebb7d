#include <fmt/format.h>

#include <algorithm>

#include "kv/tree_node.h"

namespace cairn::kv {

TreeSnapshot PrefixTree::snapshot() const {
  TreeSnapshot out{pool_.block_size(), blocks_, evictable(), {}};
  // By hand rather than by recursion: a chain of nodes is as long as a conversation.
  std::vector<std::pair<Node*, int64_t>> pending{{root_.get(), -1}};
  while (!pending.empty()) {
    const auto [node, parent] = pending.back();
    pending.pop_back();
    TreeSnapshot::Node copy;
    copy.parent = parent;
    copy.identity = node->identity;
    if (!node->hashes.empty()) copy.first = node->hashes.front(), copy.last = node->hashes.back();
    copy.tokens = node->tokens;
    for (const BlockRef& block : node->blocks) copy.blocks.push_back(block.id());
    copy.locks = node->locks;
    copy.candidate = candidates_.contains(age(*node));
    const auto index = static_cast<int64_t>(out.nodes.size());
    out.nodes.push_back(std::move(copy));
    auto children = node->children;
    std::sort(children.begin(), children.end(), [](const Node* a, const Node* b) {
      return std::tie(a->tokens, a->serial) > std::tie(b->tokens, b->serial);
    });
    for (Node* child : children) pending.emplace_back(child, index);
  }
  return out;
}

std::string PrefixTree::draw() const {
  const TreeSnapshot all = snapshot();
  const auto size = static_cast<size_t>(all.block_size);
  std::vector<size_t> depth(all.nodes.size());
  std::string out = fmt::format("blocks={} evictable={}\n", all.blocks, all.evictable);
  for (size_t i = 1; i < all.nodes.size(); ++i) {
    const auto& node = all.nodes[i];
    depth[i] = depth[static_cast<size_t>(node.parent)] + 1;
    out += std::string(2 * depth[i], ' ');
    for (size_t at = 0; at < node.tokens.size(); at += size)
      out += fmt::format("{}{}", at ? " | " : "", fmt::join(std::span(node.tokens).subspan(at, size), " "));
    out += fmt::format("  blocks={}", fmt::join(node.blocks, ","));
    if (node.locks) out += fmt::format(" locks={}", node.locks);
    out += '\n';
  }
  return out;
}

}  // namespace cairn::kv
