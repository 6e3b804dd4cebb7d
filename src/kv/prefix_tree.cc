#include "kv/prefix_tree.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/strings.h"
#include "kv/tree_node.h"

namespace cairn::kv {
namespace {

constexpr std::array<std::pair<const char*, Eviction>, 4> kOrders{
    {{"lru", Eviction::kLru}, {"lfu", Eviction::kLfu}, {"fifo", Eviction::kFifo}, {"mru", Eviction::kMru}}};

template <class T>
std::vector<T> cut(std::vector<T>& from, int64_t count) {
  const auto middle = from.begin() + count;
  std::vector<T> front(std::make_move_iterator(from.begin()), std::make_move_iterator(middle));
  from.erase(from.begin(), middle);
  return front;
}

}  // namespace

Result<Eviction> eviction_named(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& [known, order] : kOrders) {
    if (name == known) return order;
    names.emplace_back(known);
  }
  return invalid("no eviction order \"" + std::string(name) + "\": there are " + join(names, ", "));
}

PrefixTree::Lock::Lock(PrefixTree* tree, Node* node) : tree_(tree), node_(node) { tree->lock(node); }

void PrefixTree::Lock::reset() {
  if (Node* node = std::exchange(node_, nullptr)) tree_->unlock(node);
}

PrefixTree::PrefixTree(BlockPool& pool, Eviction order) : pool_(pool), order_(order), root_(new Node) {}
PrefixTree::~PrefixTree() {
  if (root_->locks == 0) return;
  std::fputs("kv::PrefixTree: destroyed while prefixes are locked\n", stderr);
  std::abort();
}

const Hash& PrefixTree::end_of(const Node& node, const Hash& identity) const {
  return node.hashes.empty() ? identity : node.hashes.back();
}

PrefixTree::Step PrefixTree::step(const Node& from, const Hash& identity, std::span<const Token> rest) const {
  const auto size = static_cast<size_t>(pool_.block_size());
  if (rest.size() < size || from.children.empty()) return {};
  const auto found = nodes_.find(chained(identity, end_of(from, identity), rest.first(size)));
  if (found == nodes_.end()) return {};
  Node& node = *found->second;
  if (node.parent != &from || node.identity != identity) return {};
  const size_t most = std::min(node.blocks.size(), rest.size() / size);
  size_t same = 0;
  while (same < most &&
         std::memcmp(node.tokens.data() + same * size, rest.data() + same * size, size * sizeof(Token)) == 0)
    ++same;
  if (same == 0) return {};
  return {&node, static_cast<int64_t>(same)};
}

// The node that ends where the longest cached prefix does; a node that goes on beyond it is split there.
PrefixTree::Node* PrefixTree::walk(const Hash& identity, std::span<const Token> tokens, int64_t& matched) {
  Node* node = root_.get();
  matched = 0;
  for (;;) {
    const Step next = step(*node, identity, tokens.subspan(static_cast<size_t>(matched)));
    if (!next.node) return node;
    matched += next.blocks * pool_.block_size();
    if (next.blocks < static_cast<int64_t>(next.node->blocks.size())) return split(*next.node, next.blocks);
    node = next.node;
  }
}

PrefixTree::Match PrefixTree::match(const Hash& identity, std::span<const Token> tokens) {
  Match out;
  Node* node = walk(identity, tokens, out.tokens);
  ++stats_.lookups;
  stats_.looked_up_tokens += static_cast<int64_t>(tokens.size());
  if (node == root_.get()) return out;
  ++stats_.hits;
  stats_.hit_tokens += out.tokens;
  out.lock = Lock(this, node);
  touch(node, true);
  out.blocks.resize(static_cast<size_t>(out.tokens / pool_.block_size()));
  size_t at = out.blocks.size();
  for (const Node* n = node; n; n = n->parent)
    for (size_t i = n->blocks.size(); i-- > 0;) out.blocks[--at] = n->blocks[i].share();
  return out;
}

PrefixTree::Peek PrefixTree::peek(const Hash& identity, std::span<const Token> tokens) const {
  Peek out;
  for (const Node* node = root_.get();;) {
    const Step next = step(*node, identity, tokens.subspan(static_cast<size_t>(out.tokens)));
    if (!next.node) return out;
    out.tokens += next.blocks * pool_.block_size();
    out.path.push_back(next.node->serial);
    if (next.node->locks == 0) out.idle += next.blocks;
    if (next.blocks < static_cast<int64_t>(next.node->blocks.size())) return out;
    node = next.node;
  }
}

PrefixTree::Inserted PrefixTree::insert(const Hash& identity, std::span<const Token> tokens,
                                        std::span<BlockRef> blocks) {
  const int64_t size = pool_.block_size(), whole = static_cast<int64_t>(tokens.size()) / size;
  check(static_cast<int64_t>(blocks.size()) >= whole, "PrefixTree::insert: fewer blocks than tokens");
  Inserted out;
  int64_t matched = 0;
  Node* node = walk(identity, tokens, matched);
  auto at = static_cast<size_t>(matched / size);
  for (const Node* n = node; n; n = n->parent) {
    for (size_t i = n->blocks.size(); i-- > 0;) {
      BlockRef& mine = blocks[--at];
      if (mine.id() == n->blocks[i].id()) continue;
      out.displaced.push_back(std::exchange(mine, n->blocks[i].share()));
    }
  }
  const auto rest = tokens.subspan(static_cast<size_t>(matched), static_cast<size_t>(whole * size - matched));
  if (!rest.empty()) {
    if (Node* leaf = add(*node, identity, rest, blocks.subspan(static_cast<size_t>(matched / size)))) {
      node = leaf;
      out.added = static_cast<int64_t>(leaf->blocks.size());
      stats_.inserted_blocks += out.added;
    }
  }
  if (node == root_.get()) return out;
  out.lock = Lock(this, node);
  touch(node, false);
  return out;
}

// A new leaf, or null where another content has the same hash: then the prefix is not cached.
PrefixTree::Node* PrefixTree::add(Node& parent, const Hash& identity, std::span<const Token> tokens,
                                  std::span<BlockRef> blocks) {
  const int64_t size = pool_.block_size();
  const auto count = static_cast<int64_t>(tokens.size()) / size;
  auto node = std::make_unique<Node>();
  const Hash* previous = &end_of(parent, identity);
  node->hashes.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    node->hashes.push_back(
        chained(identity, *previous, tokens.subspan(static_cast<size_t>(i * size), static_cast<size_t>(size))));
    previous = &node->hashes.back();
    if (i == 0 && nodes_.contains(*previous)) return nullptr;
  }
  node->identity = identity;
  node->tokens.assign(tokens.begin(), tokens.end());
  node->blocks.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) node->blocks.push_back(blocks[static_cast<size_t>(i)].share());
  node->created = ++clock_;
  node->serial = ++serial_;
  node->parent = &parent;
  node->position = parent.children.size();
  Node* added = node.get();
  const Hash first = node->hashes.front();
  nodes_.emplace(first, std::move(node));
  if (parent.locks == 0 && parent.children.empty() && &parent != root_.get()) candidates_.erase(age(parent));
  parent.children.push_back(added);
  blocks_ += count;
  ++version_;
  // Its creator locks it next, so it is no candidate yet: lock() expects to find it among them.
  candidates_.insert(age(*added));
  return added;
}

// Cuts a node after `blocks` blocks. The front becomes a new node, its parent: locks are held by node and cover the
// path above, so whoever holds the old node keeps both.
PrefixTree::Node* PrefixTree::split(Node& node, int64_t blocks) {
  auto front = std::make_unique<Node>();
  front->parent = node.parent;
  front->position = node.position;
  front->identity = node.identity;
  front->tokens = cut(node.tokens, blocks * pool_.block_size());
  front->blocks = cut(node.blocks, blocks);
  front->hashes = cut(node.hashes, blocks);
  front->locks = node.locks;
  front->used = node.used;
  front->created = node.created;
  front->hits = node.hits;
  front->serial = ++serial_;
  front->children = {&node};
  front->parent->children[front->position] = front.get();
  node.parent = front.get();
  node.position = 0;
  Node* out = front.get();
  auto& place = nodes_.at(out->hashes.front());
  std::unique_ptr<Node> back = std::exchange(place, std::move(front));
  nodes_.insert_or_assign(node.hashes.front(), std::move(back));
  ++version_;
  return out;
}

void PrefixTree::remove(Node& node) {
  Node& parent = *node.parent;
  Node* moved = parent.children.back();
  parent.children[node.position] = moved;
  moved->position = node.position;
  parent.children.pop_back();
  if (parent.children.empty() && parent.locks == 0 && &parent != root_.get()) candidates_.insert(age(parent));
  nodes_.erase(Hash(node.hashes.front()));
}

int64_t PrefixTree::evict(int64_t blocks) {
  const int64_t before = pool_.free(), had = blocks_;
  while (pool_.free() - before < blocks && !candidates_.empty()) {
    Node& node = *candidates_.begin()->node;
    // The first block stays while the node does: it is what the node is found by.
    while (node.blocks.size() > 1 && pool_.free() - before < blocks) {
      node.blocks.pop_back();
      node.hashes.pop_back();
      --blocks_;
      ++stats_.evicted_blocks;
    }
    node.tokens.resize(node.blocks.size() * static_cast<size_t>(pool_.block_size()));
    if (pool_.free() - before >= blocks) break;
    candidates_.erase(candidates_.begin());
    --blocks_;
    ++stats_.evicted_blocks;
    remove(node);
  }
  if (blocks_ != had) ++version_;
  return pool_.free() - before;
}

PrefixTree::Age PrefixTree::age(Node& n) const {
  switch (order_) {
    case Eviction::kLru:
      return {n.used, 0, n.serial, &n};
    case Eviction::kLfu:
      return {n.hits, n.used, n.serial, &n};
    case Eviction::kFifo:
      return {n.created, 0, n.serial, &n};
    case Eviction::kMru:
      return {-n.used, 0, n.serial, &n};
  }
  return {};
}

// Only for a locked path: a candidate's age must not change where it stands.
void PrefixTree::touch(Node* node, bool hit) {
  ++clock_;
  for (; node != root_.get(); node = node->parent) {
    node->used = clock_;
    node->hits += hit;
  }
}

void PrefixTree::lock(Node* node) {
  for (; node; node = node->parent) {
    if (node->locks++ > 0 || node == root_.get()) continue;
    locked_ += static_cast<int64_t>(node->blocks.size());
    if (node->children.empty()) candidates_.erase(age(*node));
  }
}

void PrefixTree::unlock(Node* node) {
  for (; node; node = node->parent) {
    if (--node->locks > 0 || node == root_.get()) continue;
    locked_ -= static_cast<int64_t>(node->blocks.size());
    if (node->children.empty()) candidates_.insert(age(*node));
  }
}

int64_t PrefixTree::idle_after(const Lock& lock) const {
  int64_t blocks = 0;
  for (const Node* n = lock.node_; n && n->locks == 1; n = n->parent) blocks += static_cast<int64_t>(n->blocks.size());
  return blocks;
}

}  // namespace cairn::kv
