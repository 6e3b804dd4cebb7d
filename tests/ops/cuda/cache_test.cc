#include "ops/cuda/cache_kernels.h"

#include "ops/cuda/device_data.h"

namespace cairn::ops::cuda {
namespace {

struct Shape {
  int64_t batch, tokens, width, stride, gap, shift;
};
constexpr Shape kShapes[] = {{1, 1, 1, 1, 0, 0},   {2, 3, 64, 1, 0, 0},  {2, 5, 130, 8, 6, 0},
                             {1, 40, 33, 4, 0, 1}, {3, 2, 256, 1, 8, 0}, {1, 3, 600, 1, 0, 1}};

Rows rows_of(const Data& d, const Shape& s) {
  const int64_t stride = s.width + s.gap;
  return {d.at(), d.type(), s.tokens, s.tokens * stride, stride};
}

// after - before, every stride-th channel.
std::vector<double> changed(const Data& after, const Data* before, const Shape& s) {
  std::vector<double> out;
  for (int64_t row = 0; row < s.batch * s.tokens; ++row)
    for (int64_t i = 0; i < s.width; i += s.stride) {
      const int64_t at = row * (s.width + s.gap) + i;
      out.push_back(after[at] - (before ? (*before)[at] : 0));
    }
  return out;
}

TEST(CudaCache, ChangeAndVerdictAreTheReference) {
  unsigned seed = 0;
  for (const Type type : kTypes)
    for (const Shape& s : kShapes)
      for (const double important : {0.0, 0.9, 100.0})
        for (const bool whole : {true, false}) {
          const int64_t rows = s.batch * s.tokens, count = rows * (s.width + s.gap);
          const Data after = Data::normal(type, count, ++seed, 1, s.shift),
                     before = Data::normal(type, count, ++seed, 1, s.shift);
          const auto x = changed(after, whole ? nullptr : &before, s);
          const int64_t kept = static_cast<int64_t>(x.size()) / rows;
          Data anchor = Data::normal(type, rows * kept, ++seed, 0.5);
          for (int64_t i = 0; i < anchor.size(); ++i) anchor.set(i, anchor[i] + x[static_cast<size_t>(i)]);
          double chosen[2] = {}, all[2] = {};
          for (int64_t r = 0; r < rows; ++r) {
            double d = 0, m = 0;
            for (int64_t i = 0; i < kept; ++i) {
              d += std::fabs(anchor[r * kept + i] - x[static_cast<size_t>(r * kept + i)]);
              m += std::fabs(anchor[r * kept + i]);
            }
            all[0] += d, all[1] += m;
            if (d / m > important) chosen[0] += d, chosen[1] += m;
          }
          const double* const expected = important > 0 && chosen[1] > 0 ? chosen : all;
          double result[2];
          int32_t verdict = -1;
          Change c{.after = rows_of(after, s),
                   .anchor = anchor.at(),
                   .anchor_type = type,
                   .rows = rows,
                   .width = s.width,
                   .stride = s.stride,
                   .important = important,
                   .result = result,
                   .verdict = &verdict};
          if (!whole) c.before = rows_of(before, s);
          for (const double threshold : {0.9, 1.1}) {
            c.threshold = expected[0] / expected[1] * threshold;
            std::vector<double> workspace(static_cast<size_t>(change_workspace(c)), NAN);
            EXPECT_LAUNCHED(change(c, workspace.data(), nullptr));
            EXPECT_NEAR(result[0], expected[0], 1e-5 * expected[0]);
            EXPECT_NEAR(result[1], expected[1], 1e-5 * expected[1]);
            EXPECT_EQ(verdict, threshold > 1);
          }
        }
}

TEST(CudaCache, NoVerdictFromWhatIsNoNumber) {
  Data x = Data::normal(Type::f32, 8, 1), anchor = Data::normal(Type::f32, 8, 2);
  x.set(3, NAN);
  double result[2];
  int32_t verdict = -1;
  const Change c{.after = plain_rows(x.at(), Type::f32, 1, 8),
                 .anchor = anchor.at(),
                 .rows = 1,
                 .width = 8,
                 .result = result,
                 .threshold = 1e9,
                 .verdict = &verdict};
  std::vector<double> workspace(static_cast<size_t>(change_workspace(c)));
  EXPECT_LAUNCHED(change(c, workspace.data(), nullptr));
  EXPECT_EQ(verdict, 0);
}

TEST(CudaCache, ResidualIsTheReference) {
  unsigned seed = 0;
  for (const Type type : kTypes)
    for (const Shape& s : kShapes)
      for (const bool whole : {true, false}) {
        const int64_t rows = s.batch * s.tokens, count = rows * (s.width + s.gap);
        const Data after = Data::normal(type, count, ++seed, 1, s.shift),
                   before = Data::normal(type, count, ++seed, 1, s.shift);
        const auto expected = changed(after, whole ? nullptr : &before, s);
        Data out(type, static_cast<int64_t>(expected.size()));
        EXPECT_LAUNCHED(residual(rows_of(after, s), whole ? Rows{} : rows_of(before, s), rows, s.width, s.stride,
                                 out.at(), nullptr));
        EXPECT_LT(distance(out, expected), tolerance(type));
      }
}

TEST(CudaCache, TaylorLaddersAreTheReference) {
  unsigned seed = 0;
  for (const Type type : kTypes)
    for (const Type level_type : kTypes)
      for (const Shape& s : kShapes)
        for (const int64_t levels : {1, 2, 4}) {
          const int64_t rows = s.batch * s.tokens, count = rows * (s.width + s.gap), size = rows * s.width;
          const Data after = Data::normal(type, count, ++seed, 1, s.shift),
                     before = Data::normal(type, count, ++seed, 1, s.shift);
          Taylor t{.after = rows_of(after, s),
                   .before = rows_of(before, s),
                   .count = levels,
                   .rows = rows,
                   .width = s.width,
                   .gap = 3};
          std::vector<Data> ladder;
          std::vector<std::vector<double>> expected;
          Shape every = s;
          every.stride = 1;
          auto level = changed(after, &before, every);
          for (int64_t l = 0; l < levels; ++l) {
            ladder.push_back(l + 1 < levels ? Data::normal(level_type, size, ++seed) : Data(level_type, size));
            t.levels[l] = ladder.back().at(), t.types[l] = level_type;
            expected.push_back(level);
            for (int64_t i = 0; i < size; ++i)
              level[static_cast<size_t>(i)] = (level[static_cast<size_t>(i)] - ladder.back()[i]) / 3;
          }
          EXPECT_LAUNCHED(taylor_update(t, nullptr));
          for (size_t l = 0; l < ladder.size(); ++l)
            EXPECT_LT(distance(ladder[l], expected[l]), tolerance(level_type) * 2);
        }
}

TEST(CudaCache, WeightedSumsAreTheReference) {
  unsigned seed = 0;
  for (const Type type : kTypes)
    for (const Type out_type : kTypes)
      for (const int64_t size : {1, 8, 1003, 4096})
        for (const int64_t count : {1, 3})
          for (const bool based : {false, true}) {
            const int64_t parts = 2;
            std::vector<Data> terms;
            const Data base = Data::normal(out_type, parts * size, ++seed);
            Data out(out_type, parts * size);
            WeightedSum w{.count = count, .parts = parts, .size = size, .out = out.at(), .out_type = out_type};
            if (based) w.base = base.at(), w.base_type = out_type;
            std::vector<double> expected;
            for (int64_t i = 0; i < out.size(); ++i) expected.push_back(based ? base[i] : 0);
            for (int64_t j = 0; j < count; ++j) {
              terms.push_back(Data::normal(type, parts * size, ++seed));
              w.terms[j] = terms.back().at(), w.types[j] = type;
              for (int64_t p = 0; p < parts; ++p) {
                w.weights[p * count + j] = static_cast<float>(p - j) + 0.5f;
                for (int64_t i = p * size; i < (p + 1) * size; ++i)
                  expected[static_cast<size_t>(i)] += (static_cast<double>(p - j) + 0.5) * terms.back()[i];
              }
            }
            EXPECT_LAUNCHED(weighted_sum(w, nullptr));
            EXPECT_LT(distance(out, expected), tolerance(out_type));
          }
}

TEST(CudaCache, GramsAreTheReference) {
  unsigned seed = 0;
  for (const Type type : kTypes)
    for (const int64_t size : {1, 100, 9000})
      for (const int64_t count : {1, 2, 5}) {
        const int64_t rows = 2;
        std::vector<Data> terms;
        Gram g{.count = count, .rows = rows, .size = size};
        for (int64_t j = 0; j < count; ++j) {
          terms.push_back(Data::normal(type, rows * size, ++seed));
          g.terms[j] = terms.back().at(), g.types[j] = type;
        }
        std::vector<double> out(static_cast<size_t>(rows * count * count), NAN),
            workspace(static_cast<size_t>(gram_workspace(g)), NAN);
        g.out = out.data();
        EXPECT_LAUNCHED(gram(g, workspace.data(), nullptr));
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t a = 0; a < count; ++a)
            for (int64_t b = 0; b < count; ++b) {
              double sum = 0, scale = 0;
              for (int64_t i = r * size; i < (r + 1) * size; ++i) {
                const double x = terms[static_cast<size_t>(a)][i] * terms[static_cast<size_t>(b)][i];
                sum += x, scale += std::fabs(x);
              }
              EXPECT_NEAR(out[static_cast<size_t>((r * count + a) * count + b)], sum, 1e-13 * scale);
            }
      }
}

TEST(CudaCache, RefusesNonsense) {
  EXPECT_NE(gram({.count = 17}, nullptr, nullptr), nullptr);
  EXPECT_NE(weighted_sum({.count = 16, .parts = 17, .size = 1}, nullptr), nullptr);
  EXPECT_NE(taylor_update({.count = 0}, nullptr), nullptr);
  EXPECT_NE(residual({}, {}, 1, 1, 0, nullptr, nullptr), nullptr);
  EXPECT_NE(change({.rows = 1, .width = 1}, nullptr, nullptr), nullptr);
}

}  // namespace
}  // namespace cairn::ops::cuda
