#include "ops/cuda/device_data.h"
#include "ops/cuda/row_kernels.h"

namespace cairn::ops::cuda {
namespace {

struct Shape {
  int64_t batch, tokens, width, gap, shift;  // gap: numbers between rows; shift: spoils the alignment
};
constexpr Shape kShapes[] = {{1, 1, 1, 0, 0},   {1, 3, 7, 0, 0},   {2, 5, 64, 0, 0},   {3, 2, 130, 6, 0},
                             {2, 3, 256, 8, 0}, {1, 2, 256, 0, 1}, {1, 1, 5000, 0, 0}, {1, 2, 33, 3, 1}};

// Normed rows in float64: what `norm` means.
std::vector<double> reference(const Norm& n, const Shape& s, const Data& x, const Data* add, const Data* weight,
                              const Data* bias, const Data* modulation) {
  std::vector<double> out;
  for (int64_t row = 0; row < n.rows; ++row) {
    std::vector<double> v;
    for (int64_t i = 0; i < n.width; ++i) {
      double y = x[row / s.tokens * n.x.batch_stride + row % s.tokens * n.x.row_stride + i];
      if (add) {
        Data one(x.type(), 1);
        one.set(0, y + (*add)[row * n.width + i]);
        y = one[0];
      }
      v.push_back(y);
    }
    double mean = 0, variance = 0;
    for (const double y : v) mean += n.center ? y / static_cast<double>(n.width) : 0;
    for (const double y : v) variance += (y - mean) * (y - mean) / static_cast<double>(n.width);
    for (int64_t i = 0; i < n.width; ++i) {
      double y = (v[static_cast<size_t>(i)] - mean) / std::sqrt(variance + n.eps);
      if (weight) y *= (*weight)[i];
      if (bias) y += (*bias)[i];
      if (modulation) {
        const int64_t part = row / s.tokens * 3 * n.width;
        y = y * (1 + (*modulation)[part + 2 * n.width + i]) + (*modulation)[part + i];
      }
      out.push_back(y);
    }
  }
  return out;
}

TEST(CudaNorm, IsTheReferenceInEveryDtype) {
  unsigned seed = 0;
  for (const Type in : kTypes)
    for (const Type out : kTypes)
      for (const Shape& s : kShapes)
        for (int kind = 0; kind < 4; ++kind) {  // RMS; layer norm with weight and bias; modulated; added
          const int64_t rows = s.batch * s.tokens, stride = s.width + s.gap;
          const Data x = Data::normal(in, rows * stride, ++seed, 2, s.shift),
                     add = Data::normal(out, rows * s.width, ++seed), weight = Data::normal(out, s.width, ++seed),
                     bias = Data::normal(in, s.width, ++seed),
                     modulation = Data::normal(Type::f32, s.batch * 3 * s.width, ++seed);
          Data y(out, rows * s.width), sum(in, rows * s.width);
          Norm n{.x = {x.at(), in, s.tokens, s.tokens * stride, stride},
                 .rows = rows,
                 .width = s.width,
                 .y = y.at(),
                 .y_type = out,
                 .eps = 1e-5f};
          n.center = kind == 1 || kind == 2;
          if (kind != 2) n.weight = {weight.at(), out};
          if (kind == 1) n.bias = {bias.at(), in};
          if (kind == 2) {
            n.shift = modulation.floats();
            n.scale = modulation.floats() + 2 * s.width;
            n.modulation_stride = 3 * s.width;
          }
          if (kind == 3) n.add = plain_rows(add.at(), out, rows, s.width), n.sum = sum.at();
          EXPECT_LAUNCHED(norm(n, nullptr));
          const auto expected = reference(n, s, x, kind == 3 ? &add : nullptr, kind != 2 ? &weight : nullptr,
                                          kind == 1 ? &bias : nullptr, kind == 2 ? &modulation : nullptr);
          EXPECT_LT(distance(y, expected), s.width == 1 ? 1e-2 : tolerance(out))
              << "width " << s.width << " kind " << kind << " types " << int(in) << int(out);
          if (kind == 3 && rows * s.width > 0) {
            Data first(in, 1);
            first.set(0, x[0] + add[0]);
            EXPECT_EQ(sum[0], first[0]);
          }
        }
}

TEST(CudaNorm, LargeMeansCostNoPrecision) {
  const int64_t width = 1000;
  Data x = Data::normal(Type::f32, width, 5), y(Type::f32, width);
  for (int64_t i = 0; i < width; ++i) x.set(i, x[i] + 1000);
  Norm n{.x = plain_rows(x.at(), Type::f32, 1, width),
         .rows = 1,
         .width = width,
         .y = y.at(),
         .eps = 1e-6f,
         .center = true};
  EXPECT_LAUNCHED(norm(n, nullptr));
  EXPECT_LT(distance(y, reference(n, {1, 1, width, 0, 0}, x, nullptr, nullptr, nullptr, nullptr)), 1e-4);
}

TEST(CudaNorm, RefusesWhatItCannotDo) {
  Data x = Data::normal(Type::f32, 8, 1);
  Norm n{.x = plain_rows(x.at(), Type::f32, 1, 8), .rows = 1, .width = 40000, .y = x.at()};
  EXPECT_NE(norm(n, nullptr), nullptr);
  n.width = 8, n.scale = x.floats();
  EXPECT_NE(norm(n, nullptr), nullptr);
  n.scale = nullptr, n.rows = -1;
  EXPECT_NE(norm(n, nullptr), nullptr);
  const int64_t before = cuda_sim::launches();
  n.rows = 0;
  EXPECT_EQ(norm(n, nullptr), nullptr);
  EXPECT_EQ(cuda_sim::launches(), before);
}

}  // namespace
}  // namespace cairn::ops::cuda
