#include "ops/cuda/device_data.h"
#include "ops/cuda/row_kernels.h"

namespace cairn::ops::cuda {
namespace {

struct Shape {
  int64_t pictures, pixels, channels, groups, shift;
};
constexpr Shape kShapes[] = {
    {1, 1, 2, 1, 0}, {2, 9, 32, 4, 0}, {1, 600, 12, 3, 0}, {3, 35, 40, 8, 1}, {1, 4, 520, 2, 0}};

TEST(CudaGroupNorm, IsTheReferenceInEveryDtype) {
  unsigned seed = 0;
  for (const Type in : kTypes)
    for (const Type out : kTypes)
      for (const Shape& s : kShapes)
        for (const bool silu : {false, true}) {
          const int64_t picture = s.pixels * s.channels, each = s.channels / s.groups;
          Data x = Data::normal(in, s.pictures * picture, ++seed, 1, s.shift), y(out, s.pictures * picture);
          if (in == Type::f32)
            for (int64_t i = 0; i < x.size(); ++i) x.set(i, x[i] + 300);
          const Data weight = Data::normal(out, s.channels, ++seed), bias = Data::normal(in, s.channels, ++seed);
          const GroupNormRows g{.x = x.at(),
                                .x_type = in,
                                .y = y.at(),
                                .y_type = out,
                                .pictures = s.pictures,
                                .pixels = s.pixels,
                                .channels = s.channels,
                                .groups = s.groups,
                                .weight = {weight.at(), out},
                                .bias = {bias.at(), in},
                                .eps = 1e-6f,
                                .silu = silu};
          std::vector<double> workspace(static_cast<size_t>(group_norm_workspace(g)), NAN);
          EXPECT_LAUNCHED(group_norm(g, workspace.data(), nullptr));
          std::vector<double> expected(static_cast<size_t>(x.size()));
          for (int64_t p = 0; p < s.pictures; ++p)
            for (int64_t group = 0; group < s.groups; ++group) {
              const auto each_of = [&](auto f) {
                for (int64_t i = 0; i < s.pixels; ++i)
                  for (int64_t c = group * each; c < (group + 1) * each; ++c) f(p * picture + i * s.channels + c, c);
              };
              const auto count = static_cast<double>(s.pixels * each);
              double mean = 0, variance = 0;
              each_of([&](int64_t i, int64_t) { mean += x[i] / count; });
              each_of([&](int64_t i, int64_t) { variance += (x[i] - mean) * (x[i] - mean) / count; });
              each_of([&](int64_t i, int64_t c) {
                const double v = (x[i] - mean) / std::sqrt(variance + 1e-6) * weight[c] + bias[c];
                expected[static_cast<size_t>(i)] = silu ? activated(v, Act::silu) : v;
              });
            }
          EXPECT_LT(distance(y, expected), out == Type::f32 ? 3e-5 : tolerance(out)) << s.channels << " " << int(in);
        }
}

TEST(CudaGroupNorm, RefusesGroupsThatDoNotDivide) {
  GroupNormRows g{.pictures = 1, .pixels = 1, .channels = 10, .groups = 3};
  EXPECT_NE(group_norm(g, nullptr, nullptr), nullptr);
  g.groups = 5;
  EXPECT_NE(group_norm(g, nullptr, nullptr), nullptr);
  g.pictures = 0;
  EXPECT_EQ(group_norm(g, nullptr, nullptr), nullptr);
}

}  // namespace
}  // namespace cairn::ops::cuda
