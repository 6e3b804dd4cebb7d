// The kernels of an NPU against their references in float64. CAIRN_TEST_DEVICE=npu runs them.
#include <gtest/gtest.h>

#include <numeric>

#include "device/under_test.h"
#include "ops/install.h"
#include "ops/paged.h"
#include "ops/samples.h"

namespace cairn::ops {
namespace {

class Npu : public testing::TestWithParam<Dtype> {
 protected:
  void SetUp() override {
    if (!device_under_test().is_privateuseone()) GTEST_SKIP() << "CAIRN_TEST_DEVICE names no NPU";
    install_kernels(device_under_test());
  }
  Dtype dtype() const { return GetParam(); }
  Tensor make(at::IntArrayRef shape) { return random(shape, dtype(), ++seed_); }
  static Tensor there(const Tensor& t) { return t.to(device_under_test()); }
  static Tensor back(const Tensor& t) { return on_host(t).to(kF64); }

 private:
  uint64_t seed_ = 100;
};

struct Router {
  int64_t experts;
  bool corrected;
  RouteRule rule;
  bool fits;  // an operator of the NPU, whose experts are int32
};
const Router kRouters[] = {
    {8, false, {.each = 2, .normalise = true}, true},
    {60, false, {.each = 6, .scaling = 1.5}, true},
    {1, false, {.each = 1}, true},
    {64,
     true,
     {.each = 6, .groups = 8, .kept = 3, .pairs = true, .sigmoid = true, .normalise = true, .scaling = 2.5},
     true},
    {256, true, {.each = 8, .groups = 8, .kept = 4, .pairs = true, .sigmoid = true, .normalise = true}, true},
    {16, true, {.each = 3, .sigmoid = true, .normalise = true}, true},
    {40, false, {.each = 5, .groups = 4, .kept = 2, .scaling = 16}, false},
    {16, false, {.each = 3, .sigmoid = true, .normalise = true}, false},
    {16, true, {.each = 3, .sigmoid = true}, false},
    {40, false, {.each = 5, .groups = 4, .kept = 2, .normalise = true}, false},
    {8, true, {.each = 3, .groups = 4, .kept = 2, .pairs = true, .sigmoid = true, .normalise = true}, false},
};

TEST_P(Npu, RouteIsTheReference) {
  for (const Router& r : kRouters)
    for (int64_t tokens : {1, 37}) {
      const Tensor logits = random({tokens, r.experts}, kF32, 5);
      const Tensor correction = r.corrected ? random({r.experts}, kF32, 6) * 0.3 : Tensor();
      const Routed y = route(there(logits), r.corrected ? there(correction) : Tensor(), r.rule),
                   want = reference::route(doubled(logits), doubled(correction), r.rule);
      EXPECT_EQ(y.chosen.scalar_type(), r.fits ? Dtype::Int : Dtype::Long) << r.experts;
      EXPECT_EQ(y.weights.scalar_type(), kF32);
      EXPECT_TRUE(on_host(y.chosen).to(Dtype::Long).equal(want.chosen)) << r.experts;
      EXPECT_LT(distance(back(y.weights), want.weights), 1e-6) << r.experts;
    }
}

TEST_P(Npu, ExpertsAreTheReference) {
  const int64_t count = 8, width = 64, inner = 48, each = 3;
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  const Tensor both = make({count, 2, inner, width}) * scale, down = make({count, width, inner}) * scale;
  const Tensor there_both = there(both), there_down = there(down);
  std::vector<Expert> list, apart, wide;
  for (int64_t i = 0; i < count; ++i) {
    list.push_back({{there_both[i][0], {}}, {there_both[i][1], {}}, {there_down[i], {}}});
    apart.push_back({{there(both[i][0]), {}}, {there(both[i][1]), {}}, {there(down[i]), {}}});
    wide.push_back({{both[i][0].to(kF64), {}}, {both[i][1].to(kF64), {}}, {down[i].to(kF64), {}}});
  }
  for (int64_t tokens : {1, 5, 70}) {
    const Tensor x = make({tokens, width});
    // Some experts get no row, the last one the most.
    const Routed to = reference::route(random({tokens, count}, kF32, 9) + random({count}, kF32, 10) * 2.0, {},
                                       {.each = each, .normalise = true});
    const Tensor want = reference::experts(doubled(x), to.chosen, to.weights, wide, Activation::kSilu);
    const auto run = [&](const std::vector<Expert>& e, Dtype ids) {
      return experts(there(x), there(to.chosen.to(ids)), there(to.weights), e, Activation::kSilu);
    };
    for (const Dtype ids : {Dtype::Int, Dtype::Long}) {
      const Tensor y = run(list, ids);
      EXPECT_EQ(y.scalar_type(), dtype()) << "not by the NPU's operators";
      EXPECT_LT(distance(back(y), want), 2 * tolerance(dtype())) << tokens;
    }
    EXPECT_LT(distance(back(run(apart, Dtype::Int)), want), 2 * tolerance(dtype())) << "weights here and there";
  }
}

// Prompts and single tokens over blocks in any order; rows of more than the operator takes.
TEST_P(Npu, LatentAttentionIsTheReference) {
  const int64_t size = 128, blocks = 24;
  struct Part {
    int64_t rows, keys;
  };
  const std::vector<std::vector<Part>> steps = {
      {{1, 1}}, {{1, 129}, {1, 3}, {1, 128}, {1, 500}}, {{5, 200}, {1, 77}, {16, 16}, {1, 1}}, {{20, 300}, {1, 40}}};
  std::vector<int32_t> order(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < blocks; ++i) order[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7 % blocks);
  const Tensor latents = make({blocks, size, 1, 512}), ropes = make({blocks, size, 1, 64});
  for (int64_t heads : {1, 4, 128})
    for (const auto& parts : steps) {
      std::vector<PagedSequence> list;
      Tensor tables = zeros({static_cast<int64_t>(parts.size()), 4}, Dtype::Int);
      int64_t rows = 0;
      for (size_t i = 0; i < parts.size(); ++i) {
        const int32_t* own = order.data() + 5 * i;
        list.push_back({.row = rows, .rows = parts[i].rows, .keys = parts[i].keys, .blocks = own});
        std::copy_n(own, 4, static_cast<int32_t*>(tables.mutable_data_ptr()) + 4 * i);
        rows += parts[i].rows;
      }
      const Tensor q = make({heads, rows, 512}).transpose(0, 1), q_rope = make({rows, heads, 64});
      const AttentionRule rule{.scale = 0.05};
      const Tensor y = split_latent_attention(there(q), there(q_rope), there(latents), there(ropes),
                                              Paging(list, there(tables), {}, {}), rule);
      EXPECT_EQ(y.scalar_type(), dtype());
      EXPECT_LT(distance(back(y), reference::split_latent_attention(doubled(q), doubled(q_rope), doubled(latents),
                                                                    doubled(ropes), Paging(list), rule)),
                2 * tolerance(dtype()))
          << heads << " heads, " << rows << " rows";
    }
}

INSTANTIATE_TEST_SUITE_P(Halves, Npu, testing::Values(kBF16, kF16),
                         [](const auto& p) { return std::string(dtype_name(p.param)); });

// Latents side by side with their rope parts, or apart from them: the same numbers.
TEST(Reference, LatentAttentionMayReadTwoCaches) {
  const Tensor both = random({6, 16, 1, 24 + 8}, kF32, 1), q = random({7, 4, 24 + 8}, kF32, 2);
  const std::vector<int32_t> blocks{3, 0, 5, 2};
  const std::vector<PagedSequence> list{{.row = 0, .rows = 6, .keys = 40, .blocks = blocks.data()},
                                        {.row = 6, .rows = 1, .keys = 9, .blocks = blocks.data() + 3}};
  const AttentionRule rule{.scale = 0.3};
  const Tensor y = reference::split_latent_attention(q.narrow(2, 0, 24), q.narrow(2, 24, 8), both.narrow(3, 0, 24),
                                                     both.narrow(3, 24, 8), Paging(list), rule);
  EXPECT_TRUE(y.equal(reference::paged_attention(q, both, both.narrow(3, 0, 24), Paging(list), rule)));
}

}  // namespace
}  // namespace cairn::ops
