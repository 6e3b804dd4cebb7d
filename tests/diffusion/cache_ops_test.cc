// Step cache kernels against their reference, over awkward shapes and layouts.
#include <gmock/gmock.h>

#include "ops/cache.h"

namespace cairn::ops {
namespace {

// Contiguous and odd-sized tensors, a slice of a longer sequence, one row, and one with strided channels.
std::vector<Tensor> layouts(uint64_t seed) {
  Noise noise(seed);
  return {noise.normal({2, 5, 256}, kF32),
          noise.normal({1, 3, 37}, kF32),
          noise.normal({2, 9, 64}, kF32).slice(1, 2, 7),
          noise.normal({70}, kF32),
          noise.normal({3, 300, 130}, kF32),
          noise.normal({4, 3}, kF32),
          noise.normal({2, 33, 6}, kF32).transpose(1, 2),
          noise.normal({2, 2, 3, 24}, kF32)};
}

void expect_close(const Tensor& got, const Tensor& want) {
  ASSERT_EQ(got.sizes(), want.sizes());
  EXPECT_EQ(got.scalar_type(), want.scalar_type());
  EXPECT_TRUE(got.is_contiguous());
  EXPECT_TRUE(got.allclose(want, 1e-5, 1e-6));
}

class CacheOps : public testing::Test {
 protected:
  CacheOps() { install_cpu_cache(); }
  std::vector<Tensor> a_ = layouts(1), b_ = layouts(2), c_ = layouts(3);
};

TEST_F(CacheOps, MeasureAChangeLikeTheReference) {
  for (size_t i = 0; i < a_.size(); ++i)
    for (int64_t stride : {1, 2, 3})
      for (double important : {0.0, 0.9, 1e9})
        for (bool two : {true, false}) {
          Tensor anchor;
          residual(c_[i], {}, stride, anchor);
          const Tensor before = two ? b_[i] : Tensor();
          const Change got = change(a_[i], before, anchor, stride, important),
                       want = reference::change(a_[i], before, anchor, stride, important);
          EXPECT_NEAR(got.difference, want.difference, 1e-5 * want.difference) << i;
          EXPECT_NEAR(got.magnitude, want.magnitude, 1e-5 * want.magnitude) << i;
        }
}

TEST_F(CacheOps, MeasureOnlyImportantTokens) {
  Tensor anchor = empty({1, 4, 8}, kF32).fill_(1), after = anchor.clone();
  after.select(1, 2).fill_(3);
  const Change all = change(after, {}, anchor, 1, 0), some = change(after, {}, anchor, 1, 0.5),
               none = change(after, {}, anchor, 1, 5);
  EXPECT_DOUBLE_EQ(all.difference / all.magnitude, 0.5);
  EXPECT_DOUBLE_EQ(some.difference / some.magnitude, 2);
  EXPECT_DOUBLE_EQ(none.difference / none.magnitude, 0.5);
}

TEST_F(CacheOps, SumsStayPreciseOverManyElements) {
  const Tensor anchor = empty({1, 4096, 512}, kF32).fill_(1), after = empty({1, 4096, 512}, kF32).fill_(1.1);
  const Change c = change(after, {}, anchor, 1, 0);
  EXPECT_NEAR(c.difference / c.magnitude, 0.1, 1e-6);
}

TEST_F(CacheOps, StoreAResidualLikeTheReferenceAndKeepTheMemory) {
  for (size_t i = 0; i < a_.size(); ++i)
    for (int64_t stride : {1, 3})
      for (bool two : {true, false}) {
        Tensor got, want;
        residual(a_[i], two ? b_[i] : Tensor(), stride, got);
        reference::residual(a_[i], two ? b_[i] : Tensor(), stride, want);
        expect_close(got, want);
        const void* memory = got.data_ptr();
        residual(c_[i], b_[i], stride, got);
        EXPECT_EQ(got.data_ptr(), memory);
      }
}

TEST_F(CacheOps, UpdateATaylorLadderLikeTheReference) {
  for (size_t i = 0; i < a_.size(); ++i)
    for (size_t levels : {1u, 2u, 4u}) {
      std::vector<Tensor> got, want;
      for (size_t l = 0; l < levels; ++l) {
        got.push_back(layouts(10 + l)[i].contiguous());
        want.push_back(got.back().clone());
      }
      taylor_update(a_[i], b_[i], got, 3);
      reference::taylor_update(a_[i], b_[i], want, 3);
      for (size_t l = 0; l < levels; ++l) expect_close(got[l], want[l]);
    }
}

TEST_F(CacheOps, AddWeightedTermsLikeTheReference) {
  for (size_t i = 0; i < a_.size(); ++i)
    for (bool base : {true, false}) {
      const std::vector<Tensor> terms = {b_[i].contiguous(), c_[i]};
      const Tensor start = base ? a_[i] : Tensor();
      expect_close(weighted_sum(terms, start, {0.5, -2}), reference::weighted_sum(terms, start, {0.5, -2}));
      if (a_[i].dim() == 1) continue;
      std::vector<double> rows;
      for (int64_t n = 0; n < 2 * a_[i].size(0); ++n) rows.push_back(0.3 * static_cast<double>(n) - 1);
      expect_close(weighted_sum(terms, start, rows), reference::weighted_sum(terms, start, rows));
    }
}

TEST_F(CacheOps, TakeInnerProductsLikeTheReference) {
  for (size_t i = 0; i < a_.size(); ++i) {
    if (a_[i].dim() == 1) continue;
    const std::vector<Tensor> terms = {a_[i].contiguous(), b_[i].contiguous(), c_[i].contiguous()};
    const auto got = gram(terms), want = reference::gram(terms);
    ASSERT_EQ(got.size(), want.size());
    for (size_t k = 0; k < got.size(); ++k) EXPECT_NEAR(got[k], want[k], 1e-9 * (1 + std::abs(want[k])));
  }
}

TEST_F(CacheOps, TakeOtherTypesThroughTheReference) {
  const Tensor a = a_[0].to(kBF16), b = b_[0].to(kBF16);
  Tensor r;
  residual(a, b, 1, r);
  EXPECT_EQ(r.scalar_type(), kBF16);
  EXPECT_TRUE(r.equal((a - b)));
  const Change c = change(a, b, r, 1, 0);
  EXPECT_LT(c.difference, 1e-2 * c.magnitude);
  EXPECT_EQ(weighted_sum({r}, b, {1.0}).scalar_type(), kBF16);
}

TEST_F(CacheOps, EmptyStreamsChangeByNothing) {
  const Tensor none = empty({1, 0, 8}, kF32);
  EXPECT_EQ(change(none, none, none, 1, 0).magnitude, 0);
  EXPECT_EQ(weighted_sum({none}, none, {1.0}).numel(), 0);
}

}  // namespace
}  // namespace cairn::ops
