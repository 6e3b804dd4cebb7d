// Trees of blocks of two tokens, drawn.
#include "kv/helpers.h"

namespace cairn::kv {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct PrefixTreeTest : testing::Test {
  explicit PrefixTreeTest(Eviction order = Eviction::kLru) : tree(pool, order) {}
  void TearDown() override { EXPECT_THAT(faults(tree, pool), IsEmpty()) << tree.draw(); }
  std::vector<BlockId> cached(const std::vector<Token>& tokens) { return cache(tree, pool, tokens); }

  BlockPool pool{16, 2};
  PrefixTree tree;
};

TEST_F(PrefixTreeTest, ServesTheLongestPrefixInWholeBlocks) {
  cached({1, 2, 3, 4, 5, 6});
  const auto match = tree.match(kPlain, std::vector<Token>{1, 2, 3, 4, 5, 9});
  EXPECT_EQ(match.tokens, 4);
  EXPECT_THAT(ids(match.blocks), ElementsAre(0, 1));
  EXPECT_EQ(pool.owners(0), 2);
  EXPECT_EQ(pool.owners(2), 1);
}

TEST_F(PrefixTreeTest, SplitsWhereAPrefixEnds) {
  cached({1, 2, 3, 4, 5, 6});
  cached({1, 2, 3, 4, 7, 8, 9, 9});
  cached({1, 3});
  EXPECT_EQ(tree.draw(),
            "blocks=6 evictable=6\n"
            "  1 2 | 3 4  blocks=0,1\n"
            "    5 6  blocks=2\n"
            "    7 8 | 9 9  blocks=5,6\n"
            "  1 3  blocks=3\n");
}

TEST_F(PrefixTreeTest, LeavesOutATailThatFillsNoBlock) {
  cached({1, 2, 3});
  EXPECT_EQ(tree.draw(), "blocks=1 evictable=1\n  1 2  blocks=0\n");
  EXPECT_EQ(tree.match(kPlain, std::vector<Token>{1}).tokens, 0);
  EXPECT_EQ(tree.match(kPlain, {}).tokens, 0);
}

TEST_F(PrefixTreeTest, KeepsAPrefixThatWasComputedTwiceOnce) {
  const std::vector<Token> tokens{1, 2, 3, 4, 5, 6};
  auto first = take(pool, 2), second = take(pool, 3);
  tree.insert(kPlain, std::span(tokens).first(4), first);
  auto inserted = tree.insert(kPlain, tokens, second);
  EXPECT_EQ(inserted.added, 1);
  EXPECT_THAT(ids(second), ElementsAre(0, 1, 4));
  EXPECT_THAT(ids(inserted.displaced), ElementsAre(3, 2));
  EXPECT_EQ(pool.used(), 5);
  inserted.displaced.clear();
  EXPECT_EQ(pool.used(), 3);
}

TEST_F(PrefixTreeTest, NeverSharesBetweenIdentities) {
  const Hash other = Identity{"model", "bf16", "", "tenant"}.hash();
  cached({1, 2, 3, 4});
  EXPECT_EQ(tree.match(other, std::vector<Token>{1, 2, 3, 4}).tokens, 0);
  cache(tree, pool, {1, 2, 3, 4}, other);
  EXPECT_EQ(tree.blocks(), 4);
  EXPECT_EQ(tree.match(other, std::vector<Token>{1, 2, 3, 4}).blocks[0].id(), 2);
}

TEST_F(PrefixTreeTest, LocksThePathOfAMatch) {
  cached({1, 2, 3, 4});
  cached({1, 2, 5, 6});
  {
    const auto match = tree.match(kPlain, std::vector<Token>{1, 2, 5, 6});
    EXPECT_EQ(tree.draw(),
              "blocks=3 evictable=1\n"
              "  1 2  blocks=0 locks=1\n"
              "    3 4  blocks=1\n"
              "    5 6  blocks=3 locks=1\n");
    EXPECT_EQ(tree.idle_after(match.lock), 2);
    EXPECT_EQ(tree.evict(9), 1);
    EXPECT_EQ(tree.blocks(), 2);
  }
  EXPECT_EQ(tree.evictable(), 2);
  EXPECT_EQ(tree.evict(9), 2);
  EXPECT_EQ(pool.free(), 16);
}

TEST_F(PrefixTreeTest, ALockCoversBothHalvesOfASplitNode) {
  cached({1, 2, 3, 4});
  const auto whole = tree.match(kPlain, std::vector<Token>{1, 2, 3, 4});
  const auto front = tree.match(kPlain, std::vector<Token>{1, 2});
  EXPECT_EQ(tree.draw(),
            "blocks=2 evictable=0\n"
            "  1 2  blocks=0 locks=2\n"
            "    3 4  blocks=1 locks=1\n");
  EXPECT_EQ(tree.idle_after(whole.lock), 1);
}

TEST_F(PrefixTreeTest, EvictsFromTheEndOfALeaf) {
  cached({1, 2, 3, 4, 5, 6});
  EXPECT_EQ(tree.evict(1), 1);
  EXPECT_EQ(tree.draw(), "blocks=2 evictable=2\n  1 2 | 3 4  blocks=0,1\n");
  cached({1, 2, 3, 4, 5, 6});
  EXPECT_EQ(tree.blocks(), 3);
  EXPECT_EQ(tree.evict(3), 3);
  EXPECT_EQ(tree.draw(), "blocks=0 evictable=0\n");
}

TEST_F(PrefixTreeTest, DoesNotCountABlockThatSomebodyStillOwns) {
  cached({1, 2});
  cached({3, 4});
  const BlockRef spilling = tree.match(kPlain, std::vector<Token>{1, 2}).blocks[0].share();
  const auto newer = tree.match(kPlain, std::vector<Token>{3, 4}).tokens;
  EXPECT_EQ(newer, 2);
  EXPECT_EQ(tree.evict(1), 1);  // the older one went too, but freed nothing
  EXPECT_EQ(tree.blocks(), 0);
  EXPECT_EQ(pool.used(), 1);
}

TEST_F(PrefixTreeTest, PeekingChangesNothing) {
  cached({1, 2, 3, 4});
  const std::string before = tree.draw();
  const uint64_t version = tree.version();
  const auto peek = tree.peek(kPlain, std::vector<Token>{1, 2, 9, 9});
  EXPECT_EQ(peek.tokens, 2);
  EXPECT_EQ(peek.idle, 1);
  EXPECT_EQ(peek.path.size(), 1u);
  EXPECT_EQ(tree.draw(), before);
  EXPECT_EQ(tree.version(), version);
  EXPECT_EQ(tree.stats().lookups, 0);
}

TEST_F(PrefixTreeTest, CountsLookups) {
  cached({1, 2, 3, 4});
  tree.match(kPlain, std::vector<Token>{1, 2, 3});
  tree.match(kPlain, std::vector<Token>{7, 7});
  tree.evict(1);
  const auto& s = tree.stats();
  EXPECT_EQ(s.lookups, 2);
  EXPECT_EQ(s.hits, 1);
  EXPECT_EQ(s.looked_up_tokens, 5);
  EXPECT_EQ(s.hit_tokens, 2);
  EXPECT_EQ(s.inserted_blocks, 2);
  EXPECT_EQ(s.evicted_blocks, 1);
}

// Three prefixes, created in the order 1, 3, 5, and used: 1 twice, 5 never, 3 once and last.
struct EvictionOrder : PrefixTreeTest, testing::WithParamInterface<std::tuple<const char*, std::vector<Token>>> {
  EvictionOrder() : PrefixTreeTest(*eviction_named(std::get<0>(GetParam()))) {}
};

TEST_P(EvictionOrder, ChoosesWhoGoesFirst) {
  for (const Token t : {1, 3, 5}) cached({t, t});
  for (const Token t : {1, 1, 3}) tree.match(kPlain, std::vector<Token>{t, t});
  std::vector<Token> gone;
  while (tree.evict(1) == 1)
    for (const Token t : {1, 3, 5})
      if (tree.peek(kPlain, std::vector<Token>{t, t}).tokens == 0 && std::count(gone.begin(), gone.end(), t) == 0)
        gone.push_back(t);
  EXPECT_EQ(gone, std::get<1>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, EvictionOrder,
                         testing::Values(std::tuple{"lru", std::vector<Token>{5, 1, 3}},
                                         std::tuple{"lfu", std::vector<Token>{5, 3, 1}},
                                         std::tuple{"fifo", std::vector<Token>{1, 3, 5}},
                                         std::tuple{"mru", std::vector<Token>{3, 1, 5}}));

TEST(Eviction, NamesTheOrdersThereAre) {
  EXPECT_THAT(eviction_named("oldest").error().what, HasSubstr("lru, lfu, fifo, mru"));
}

TEST(PrefixTreeDeathTest, ALockMayNotOutliveItsTree) {
  EXPECT_DEATH(
      {
        BlockPool pool(2, 2);
        PrefixTree::Match match;
        {
          PrefixTree tree(pool, Eviction::kLru);
          cache(tree, pool, {1, 2});
          match = tree.match(kPlain, std::vector<Token>{1, 2});
        }
      },
      "destroyed while prefixes are locked");
}

TEST_F(PrefixTreeTest, InvariantsNameWhatIsBroken) {
  cached({1, 2, 3, 4});
  cached({1, 2, 5, 6});
  const auto broken = [&](auto&& change) {
    TreeSnapshot copy = tree.snapshot();
    change(copy);
    return invariants(copy, pool.snapshot());
  };
  EXPECT_THAT(broken([](auto& t) { t.blocks = 7; }), ElementsAre("the tree counts 7 blocks and has 3"));
  EXPECT_THAT(broken([](auto& t) { t.nodes[2].candidate = false; }),
              ElementsAre("node 2: 0 locks, 0 children, yet not evictable"));
  EXPECT_THAT(broken([](auto& t) { t.nodes[2].tokens[0] = 9; }),
              ElementsAre(HasSubstr("first hash"), HasSubstr("last hash")));
  EXPECT_THAT(broken([](auto& t) { t.nodes[3].blocks = t.nodes[2].blocks; }),
              ElementsAre(HasSubstr("in the tree twice")));
  EXPECT_THAT(broken([](auto& t) { t.nodes[3].blocks[0] = 15; }), ElementsAre("node 3: block 15 has no owner"));
  EXPECT_THAT(broken([](auto& t) { t.nodes[2].locks = 1, t.nodes[2].candidate = false, t.evictable = 2; }),
              ElementsAre("node 1: 0 locks, its children 1"));
  EXPECT_THAT(broken([](auto& t) { t.evictable = 0; }), ElementsAre("the tree counts 0 evictable blocks and has 3"));
}

}  // namespace
}  // namespace cairn::kv
