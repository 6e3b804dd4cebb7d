// The kernels of convolutions against their references in float64, for each instruction set that this machine runs.
#include "ops/vision.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "ops/cpu/isa.h"
#include "ops/samples.h"

namespace cairn::ops {
namespace {

struct Case {
  int64_t n, height, width, in, out, kernel = 3;
  ConvShape walk = {};
  int64_t groups = 1;
};

// Channels that fill no vector, no pair or no panel; pictures of one pixel; several tiles, also side by side.
const std::vector<Case> kCases = {{1, 1, 1, 2, 1},
                                  {1, 1, 7, 3, 16},
                                  {2, 5, 3, 16, 3},
                                  {1, 16, 16, 128, 128, 3, {}, 16},
                                  {1, 9, 13, 48, 96},
                                  {3, 4, 21, 33, 70},
                                  {1, 17, 18, 64, 5, 1, {1, 0, 0}, 32},
                                  {2, 6, 5, 8, 8, 1, {1, 0, 0}, 4},
                                  {1, 8, 8, 32, 32, 3, {2, 0, 1}},
                                  {2, 7, 9, 6, 20, 3, {2, 0, 1}, 2},
                                  {1, 11, 10, 3, 9, 3, {2, 1, 1}},
                                  {1, 5, 150, 256, 64, 3, {}, 32},
                                  {1, 130, 40, 24, 31, 3, {}, 8},
                                  {1, 6, 6, 10, 12, 5, {1, 2, 2}, 5},
                                  {1, 4, 4, 16, 16, 2, {2, 0, 0}}};

class Vision : public testing::TestWithParam<std::tuple<std::string_view, Dtype>> {
 protected:
  void SetUp() override {
    install_cpu_vision();
    ASSERT_TRUE(cpu::use_isa(std::get<0>(GetParam())));
  }
  void TearDown() override { ASSERT_TRUE(cpu::use_isa(cpu::usable_isas()[0])); }
  Dtype dtype() const { return std::get<1>(GetParam()); }
  double tolerance() const { return ops::tolerance(dtype()); }
  Tensor make(at::IntArrayRef shape) { return random(shape, kF32, ++seed_); }
  Weight filter(int64_t out, int64_t in, int64_t kernel) {
    const double scale = 1 / std::sqrt(static_cast<double>(in * kernel * kernel));
    return {(make({out, in, kernel, kernel}) * scale).to(dtype()), make({out})};
  }
  GroupNorm norm(int64_t channels, int64_t groups, bool silu) {
    return {make({channels}) + 1.0, make({channels}), groups, 1e-6, silu};
  }

 private:
  uint64_t seed_ = 100;
};

std::ostream& operator<<(std::ostream& to, const Case& c) {
  return to << c.n << "x" << c.height << "x" << c.width << ", " << c.in << " to " << c.out << " channels, " << c.kernel
            << "x" << c.kernel << ", stride " << c.walk.stride;
}

TEST_P(Vision, ConvolutionIsTheReference) {
  for (const Case& c : kCases) {
    const Tensor x = make({c.n, c.height, c.width, c.in});
    const Weight w = filter(c.out, c.in, c.kernel);
    const Tensor y = norm_conv(x, {}, w, c.walk, {});
    EXPECT_EQ(y.scalar_type(), kF32);
    EXPECT_LT(distance(y, reference::norm_conv(doubled(x), {}, doubled(w), c.walk, {})), tolerance()) << c;
  }
}

TEST_P(Vision, NormedConvolutionWithResidualIsTheReference) {
  for (const Case& c : kCases)
    for (bool silu : {false, true}) {
      const Tensor x = make({c.n, c.height, c.width, c.in}) * 2.0 + 0.5;
      const Weight w = filter(c.out, c.in, c.kernel);
      const GroupNorm n = norm(c.in, c.groups, silu);
      const Tensor residual = make(norm_conv(x, n, w, c.walk, {}).sizes());
      EXPECT_LT(distance(norm_conv(x, n, w, c.walk, residual),
                         reference::norm_conv(doubled(x), n, doubled(w), c.walk, doubled(residual))),
                tolerance())
          << c;
    }
}

TEST_P(Vision, UpsamplingConvolutionIsTheReference) {
  for (const Case& c : kCases) {
    const Tensor x = make({c.n, c.height, c.width, c.in});
    const Weight w = filter(c.out, c.in, 3);
    EXPECT_LT(distance(upsample_conv(x, w), reference::upsample_conv(doubled(x), doubled(w))), tolerance()) << c;
  }
}

TEST_P(Vision, GroupNormIsTheReference) {
  for (const Case& c : kCases)
    for (bool silu : {false, true}) {
      const Tensor x = make({c.n, c.height, c.width, c.in}) * 3.0 + 1.0;
      const GroupNorm n = norm(c.in, c.groups, silu);
      const Tensor y = group_norm(x, n, dtype());
      EXPECT_EQ(y.scalar_type(), dtype());
      EXPECT_LT(distance(y, reference::group_norm(doubled(x), n, kF64)), tolerance()) << c;
    }
}

TEST_P(Vision, GroupNormKeepsItsDigitsBesideALargeMean) {
  const Tensor x = make({1, 40, 40, 32}) + 3000.0;
  const GroupNorm n = norm(32, 4, false);
  EXPECT_LT(distance(group_norm(x, n, kF32), reference::group_norm(doubled(x), n, kF64)),
            1e-3);  // x itself has a step of 2e-4
}

TEST_P(Vision, AResultDoesNotDependOnThreadsOrNeighbours) {
  const int threads = at::get_num_threads();
  const Tensor x = make({3, 33, 29, 40});
  const Weight w = filter(72, 40, 3);
  const Tensor all = norm_conv(x, {}, w, {}, {});
  for (const int n : {1, 2, 3}) {
    at::set_num_threads(n);
    EXPECT_TRUE(norm_conv(x, {}, w, {}, {}).equal(all)) << n << " threads";
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(norm_conv(x.narrow(0, 1, 1), {}, w, {}, {}).equal(all.narrow(0, 1, 1)));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Vision,
                         testing::Combine(testing::ValuesIn(cpu::usable_isas()), testing::Values(kF32, kBF16)),
                         [](const auto& i) {
                           return std::string(std::get<0>(i.param)) + "_" + dtype_name(std::get<1>(i.param));
                         });

TEST(VisionOps, TakeWeightsThatTheirKernelsDoNot) {
  install_cpu_vision();
  const Tensor x = random({1, 6, 5, 8}, kF32, 1);
  const Weight w{random({4, 8, 3, 3}, kF16, 2), random({4}, kF32, 3)};
  EXPECT_LT(distance(norm_conv(x, {}, w, {}, {}), reference::norm_conv(doubled(x), {}, doubled(w), {}, {})), 2e-3);
  EXPECT_LT(distance(upsample_conv(x, w), reference::upsample_conv(doubled(x), doubled(w))), 2e-3);
}

}  // namespace
}  // namespace cairn::ops
