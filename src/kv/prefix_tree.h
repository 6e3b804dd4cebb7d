// The prefix cache: a radix tree over token ids that knows which blocks hold the keys and values of which prefix.
#pragma once
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "kv/block_pool.h"
#include "kv/hash.h"

namespace cairn::kv {

// Which of the prefixes that nobody uses is forgotten first.
enum class Eviction { kLru, kLfu, kFifo, kMru };
Result<Eviction> eviction_named(std::string_view name);  // "lru", "lfu", "fifo", "mru"

// What invariants() needs to know of a tree. Nodes are listed parents first; the first one is the root.
struct TreeSnapshot {
  struct Node {
    int64_t parent = -1;  // index into nodes
    Hash identity, first, last;
    std::vector<Token> tokens;
    std::vector<BlockId> blocks;
    int64_t locks = 0;
    bool candidate = false;  // may be evicted now
  };
  int64_t block_size = 0, blocks = 0, evictable = 0;
  std::vector<Node> nodes;
};

// A node stands for a run of whole blocks; its children continue it and differ in their first block. A node is found by
// the content hash of its first block, and its tokens are compared, so a collision of hashes costs a miss, never a
// wrong answer. The tree is one owner of its blocks; a sequence that uses them is another, and holds a lock on the
// path, which keeps them from being evicted. Eviction takes blocks off the ends of unlocked leaves.
class PrefixTree {
  struct Node;

 public:
  // Keeps the path from a node to the root. The tree must outlive it.
  class Lock {
   public:
    Lock() = default;
    Lock(Lock&& other) noexcept : tree_(other.tree_), node_(std::exchange(other.node_, nullptr)) {}
    Lock& operator=(Lock&& other) noexcept {
      std::swap(tree_, other.tree_);
      std::swap(node_, other.node_);
      return *this;
    }
    ~Lock() { reset(); }
    explicit operator bool() const { return node_ != nullptr; }
    void reset();

   private:
    friend class PrefixTree;
    Lock(PrefixTree* tree, Node* node);
    PrefixTree* tree_ = nullptr;
    Node* node_ = nullptr;
  };

  // The longest cached prefix: its blocks, in use until both the references and the lock are dropped.
  struct Match {
    int64_t tokens = 0;
    std::vector<BlockRef> blocks;
    Lock lock;
  };
  // The same question without using anything: for choosing whom to serve.
  struct Peek {
    int64_t tokens = 0;
    int64_t idle = 0;            // blocks of it that nobody has locked: a match takes them out of evictable()
    std::vector<uint64_t> path;  // serials of the nodes from the root down
  };
  struct Inserted {
    Lock lock;
    int64_t added = 0;                // blocks the tree did not have
    std::vector<BlockRef> displaced;  // the caller's blocks that were replaced by the tree's
  };
  struct Stats {
    int64_t lookups = 0, hits = 0;  // matches asked for; those that found at least a block
    int64_t looked_up_tokens = 0, hit_tokens = 0;
    int64_t inserted_blocks = 0, evicted_blocks = 0;
  };

  PrefixTree(BlockPool& pool, Eviction order);
  ~PrefixTree();
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  Match match(const Hash& identity, std::span<const Token> tokens);
  Peek peek(const Hash& identity, std::span<const Token> tokens) const;

  // Adds the whole blocks of `tokens`; `blocks` are the caller's, at least as many. Where the tree already has a block
  // of that content the caller's is replaced by it, so that a prefix computed twice at once is kept once.
  Inserted insert(const Hash& identity, std::span<const Token> tokens, std::span<BlockRef> blocks);

  // Forgets prefixes until `blocks` of the pool's blocks have become free, or nothing is left to forget. Returns how
  // many became free: a block with an owner besides the tree does not.
  int64_t evict(int64_t blocks);
  void clear() { evict(blocks_); }

  int64_t blocks() const { return blocks_; }
  int64_t evictable() const { return blocks_ - locked_; }
  int64_t idle_after(const Lock& lock) const;    // the blocks that dropping this lock would make evictable
  uint64_t version() const { return version_; }  // changes whenever a peek could answer differently
  const Stats& stats() const { return stats_; }

  // A line per node, children indented: its tokens in blocks, block ids and locks. Children in the order of their
  // tokens.
  std::string draw() const;
  TreeSnapshot snapshot() const;

 private:
  struct Age {
    int64_t major, minor;
    uint64_t serial;  // of the node: no two are equal
    Node* node;
    bool operator<(const Age& o) const { return std::tie(major, minor, serial) < std::tie(o.major, o.minor, o.serial); }
  };
  struct Step {
    Node* node = nullptr;  // null: no child continues
    int64_t blocks = 0;    // how many blocks of it agree
  };

  Step step(const Node& from, const Hash& identity, std::span<const Token> rest) const;
  Node* walk(const Hash& identity, std::span<const Token> tokens, int64_t& matched);
  Node* add(Node& parent, const Hash& identity, std::span<const Token> tokens, std::span<BlockRef> blocks);
  Node* split(Node& node, int64_t blocks);
  void remove(Node& node);
  void touch(Node* node, bool hit);
  void lock(Node* node);
  void unlock(Node* node);
  Age age(Node& node) const;
  const Hash& end_of(const Node& node, const Hash& identity) const;

  BlockPool& pool_;
  Eviction order_;
  std::unique_ptr<Node> root_;
  std::unordered_map<Hash, std::unique_ptr<Node>> nodes_;  // by the hash of the first block
  std::set<Age> candidates_;                               // unlocked leaves, the first to go first
  int64_t blocks_ = 0, locked_ = 0, clock_ = 0;
  uint64_t serial_ = 0, version_ = 0;
  Stats stats_;
};

}  // namespace cairn::kv
