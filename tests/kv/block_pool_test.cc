#include "kv/helpers.h"

namespace cairn::kv {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(BlockPool, FreesWhenLastOwnerGoes) {
  BlockPool pool(2, 16);
  BlockRef a = pool.allocate();
  BlockRef b = a.share();
  EXPECT_EQ(pool.owners(a.id()), 2);
  a.reset();
  EXPECT_EQ(pool.free(), 1);
  b.reset();
  EXPECT_EQ(pool.free(), 2);
  b.reset();  // an empty reference owns nothing
  EXPECT_EQ(pool.free(), 2);
  EXPECT_THAT(faults(pool), IsEmpty());
}

TEST(BlockPool, HandsOutEachBlockOnceAndThenNone) {
  BlockPool pool(3, 16);
  const auto all = take(pool, 3);
  EXPECT_THAT(ids(all), ElementsAre(0, 1, 2));
  EXPECT_FALSE(pool.allocate());
  EXPECT_EQ(pool.used(), 3);
}

TEST(BlockPool, GivesTheWarmestBlockFirst) {
  BlockPool pool(3, 16);
  auto all = take(pool, 3);
  all[1].reset();
  all[0].reset();
  EXPECT_EQ(pool.allocate().id(), 0);
}

TEST(BlockPool, MovingKeepsTheCount) {
  BlockPool pool(2, 16);
  BlockRef a = pool.allocate(), b = pool.allocate();
  a = std::move(b);
  b.reset();
  EXPECT_EQ(pool.used(), 1);
  EXPECT_EQ(a.id(), 1);
  BlockRef c(std::move(a));
  EXPECT_FALSE(a);
  EXPECT_EQ(pool.owners(c.id()), 1);
}

TEST(BlockPool, RefusesSizesThatMakeNoSense) {
  EXPECT_THROW(BlockPool(0, 16), Failure);
  EXPECT_THROW(BlockPool(int64_t{1} << 40, 16), Failure);
  EXPECT_THROW(BlockPool(8, 0), Failure);
  EXPECT_THROW(BlockPool(8, 5000), Failure);
  EXPECT_EQ(BlockPool(8, 128).blocks_for(129), 2);
}

TEST(BlockPoolDeathTest, AReferenceMayNotOutliveItsPool) {
  EXPECT_DEATH(
      {
        BlockRef left;
        {
          BlockPool pool(1, 16);
          left = pool.allocate();
        }
      },
      "destroyed while blocks are in use");
}

TEST(PoolInvariants, NameWhatIsBroken) {
  EXPECT_THAT(invariants(PoolSnapshot{16, {1, 0}, {1}}), IsEmpty());
  EXPECT_THAT(invariants(PoolSnapshot{16, {0, 0}, {1}}), ElementsAre("block 0 has 0 owners and is not free"));
  EXPECT_THAT(invariants(PoolSnapshot{16, {0}, {0, 0}}), ElementsAre("block 0 is free twice"));
  EXPECT_THAT(invariants(PoolSnapshot{16, {1}, {0}}), ElementsAre("block 0 has 1 owners and is free"));
  EXPECT_THAT(invariants(PoolSnapshot{16, {1}, {7}}), ElementsAre(HasSubstr("block 7 of 1")));
}

}  // namespace
}  // namespace cairn::kv
