// Random operations against naive models. A failure prints its seed.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "kv/helpers.h"

namespace cairn::kv {
namespace {

using testing::IsEmpty;

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}
  size_t below(size_t n) { return bits_() % n; }

 private:
  std::mt19937_64 bits_;
};

TEST(BlockPoolModel, AgreesWithAListOfOwners) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    BlockPool pool(1 + static_cast<int64_t>(random.below(12)), 16);
    std::vector<BlockRef> held;
    for (int step = 0; step < 2000; ++step) {
      const size_t what = random.below(4);
      if (what == 0) {
        std::set<BlockId> used;
        for (const BlockRef& r : held) used.insert(r.id());
        BlockRef fresh = pool.allocate();
        ASSERT_EQ(bool(fresh), used.size() < static_cast<size_t>(pool.size()));
        if (!fresh) continue;
        ASSERT_FALSE(used.contains(fresh.id()));
        held.push_back(std::move(fresh));
      } else if (!held.empty()) {
        const size_t i = random.below(held.size());
        if (what == 1) {
          held.push_back(held[i].share());
        } else {
          held.erase(held.begin() + static_cast<int64_t>(i));
        }
      }
      std::map<BlockId, int> owners;
      for (const BlockRef& r : held) ++owners[r.id()];
      ASSERT_EQ(pool.used(), static_cast<int64_t>(owners.size()));
      for (const auto& [id, count] : owners) ASSERT_EQ(pool.owners(id), count);
      ASSERT_THAT(faults(pool), IsEmpty());
    }
  }
}

// The cached prefixes as a map from (identity, tokens up to a block's end) to the block: what a radix tree abbreviates.
class NaiveTree {
 public:
  using Key = std::pair<size_t, std::vector<Token>>;
  explicit NaiveTree(size_t size) : size_(size) {}

  std::vector<BlockId> match(size_t who, const std::vector<Token>& tokens) const {
    std::vector<BlockId> out;
    for (size_t end = size_; end <= tokens.size(); end += size_) {
      const auto found = blocks_.find({who, {tokens.begin(), tokens.begin() + static_cast<int64_t>(end)}});
      if (found == blocks_.end()) break;
      out.push_back(found->second);
    }
    return out;
  }
  void insert(size_t who, const std::vector<Token>& tokens, const std::vector<BlockId>& blocks) {
    for (size_t end = size_; end <= tokens.size(); end += size_)
      blocks_.try_emplace({who, {tokens.begin(), tokens.begin() + static_cast<int64_t>(end)}}, blocks[end / size_ - 1]);
  }
  // Drops what the tree no longer has. False when it lost a locked prefix, or has one that was never inserted.
  bool follow(const PrefixTree& tree, const std::vector<Hash>& identities, const std::set<Key>& locked) {
    for (auto i = blocks_.begin(); i != blocks_.end();) {
      const auto& [who, tokens] = i->first;
      const bool there = tree.peek(identities[who], tokens).tokens == static_cast<int64_t>(tokens.size());
      if (!there && locked.contains(i->first)) return false;
      i = there ? std::next(i) : blocks_.erase(i);
    }
    return static_cast<int64_t>(blocks_.size()) == tree.blocks();
  }
  size_t size() const { return blocks_.size(); }

 private:
  size_t size_;
  std::map<Key, BlockId> blocks_;
};

struct Holder {
  size_t who = 0;
  std::vector<Token> tokens;  // of whole blocks
  std::vector<BlockRef> blocks;
  PrefixTree::Lock lock;
};

class TreeModel {
 public:
  TreeModel(uint64_t seed, Eviction order)
      : random_(seed),
        size_(1 + random_.below(4)),
        pool_(24, static_cast<int64_t>(size_)),
        tree_(pool_, order),
        naive_(size_) {
    for (const char* salt : {"", "a"}) identities_.push_back(Identity{"m", "l", "", salt}.hash());
  }

  void step() {
    switch (random_.below(4)) {
      case 0:
        return match();
      case 1:
        return insert();
      case 2:
        return drop();
      default:
        return evict();
    }
  }
  void verify() {
    ASSERT_THAT(faults(tree_, pool_), IsEmpty()) << tree_.draw();
    ASSERT_TRUE(naive_.follow(tree_, identities_, locked())) << tree_.draw();
    std::set<BlockId> used;
    for (const auto& node : tree_.snapshot().nodes) used.insert(node.blocks.begin(), node.blocks.end());
    for (const Holder& h : held_)
      for (const BlockRef& b : h.blocks) used.insert(b.id());
    ASSERT_EQ(pool_.used(), static_cast<int64_t>(used.size()));
    ASSERT_EQ(tree_.evictable(), tree_.blocks() - static_cast<int64_t>(locked().size()));
  }
  void finish() {
    held_.clear();
    tree_.clear();
    EXPECT_EQ(pool_.used(), 0);
  }

 private:
  std::vector<Token> tokens() {
    std::vector<Token> out(random_.below(6 * size_ + 1));
    for (Token& t : out) t = static_cast<Token>(random_.below(2));
    return out;
  }
  std::set<NaiveTree::Key> locked() const {
    std::set<NaiveTree::Key> out;
    for (const Holder& h : held_)
      for (size_t end = size_; end <= h.tokens.size(); end += size_)
        out.insert({h.who, {h.tokens.begin(), h.tokens.begin() + static_cast<int64_t>(end)}});
    return out;
  }
  void match() {
    const size_t who = random_.below(2);
    std::vector<Token> wanted = tokens();
    const auto expected = naive_.match(who, wanted);
    const auto peek = tree_.peek(identities_[who], wanted);
    const int64_t evictable = tree_.evictable();
    auto got = tree_.match(identities_[who], wanted);
    ASSERT_EQ(ids(got.blocks), expected);
    ASSERT_EQ(got.tokens, static_cast<int64_t>(expected.size() * size_));
    ASSERT_EQ(peek.tokens, got.tokens);
    ASSERT_EQ(peek.idle, evictable - tree_.evictable());
    ASSERT_EQ(tree_.idle_after(got.lock), peek.idle);
    wanted.resize(static_cast<size_t>(got.tokens));
    held_.push_back({who, std::move(wanted), std::move(got.blocks), std::move(got.lock)});
  }
  void insert() {
    const size_t who = random_.below(2);
    std::vector<Token> computed = tokens();
    auto blocks = take(pool_, computed.size() / size_);
    if (!blocks.empty() && !blocks.back()) return;  // no memory: nothing was computed
    const auto fresh = ids(blocks);
    auto inserted = tree_.insert(identities_[who], computed, blocks);
    ASSERT_EQ(static_cast<size_t>(inserted.added) + inserted.displaced.size(), blocks.size());
    naive_.insert(who, computed, fresh);
    ASSERT_EQ(ids(blocks), naive_.match(who, computed));
    computed.resize(blocks.size() * size_);
    held_.push_back({who, std::move(computed), std::move(blocks), std::move(inserted.lock)});
  }
  void drop() {
    if (!held_.empty()) held_.erase(held_.begin() + static_cast<int64_t>(random_.below(held_.size())));
  }
  void evict() {
    const auto wanted = static_cast<int64_t>(random_.below(4));
    const int64_t before = pool_.free(), possible = tree_.evictable();
    const int64_t freed = tree_.evict(wanted);
    ASSERT_EQ(freed, pool_.free() - before);
    ASSERT_EQ(freed, std::min(wanted, possible));
  }

  Random random_;
  size_t size_;
  BlockPool pool_;
  PrefixTree tree_;
  NaiveTree naive_;
  std::vector<Hash> identities_;
  std::vector<Holder> held_;
};

TEST(PrefixTreeModel, AgreesWithAMapOfAllPrefixes) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TreeModel model(seed, static_cast<Eviction>(seed % 4));
    for (int step = 0; step < 300; ++step) {
      model.step();
      if (testing::Test::HasFatalFailure()) return;
      model.verify();
      if (testing::Test::HasFatalFailure()) return;
    }
    model.finish();
  }
}

}  // namespace
}  // namespace cairn::kv
