#include "ops/cuda/row_kernels.h"

#include "ops/cuda/device_data.h"

namespace cairn::ops::cuda {
namespace {

struct Shape {
  int64_t batch, tokens, width, shift;
};
constexpr Shape kShapes[] = {{1, 1, 1, 0}, {2, 3, 8, 0}, {1, 5, 100, 1}, {3, 2, 513, 0}, {1, 2, 1024, 0}};
constexpr Act kActs[] = {Act::none, Act::gelu, Act::gelu_tanh, Act::quick_gelu, Act::silu};

TEST(CudaRows, ActivationsAreTheReference) {
  unsigned seed = 0;
  for (const Type in : kTypes)
    for (const Type out : kTypes)
      for (const Shape& s : kShapes)
        for (const Act act : kActs) {
          const int64_t rows = s.batch * s.tokens;
          const Data x = Data::normal(in, rows * 2 * s.width, ++seed, 2, s.shift),
                     bias = Data::normal(out, s.width, ++seed);
          Data y(out, rows * s.width), g(out, rows * s.width);
          const Rows left{x.at(), in, rows, 0, 2 * s.width}, right{x.at(s.width), in, rows, 0, 2 * s.width};
          EXPECT_LAUNCHED(bias_activation(left, rows, s.width, {bias.at(), out}, act, y.at(), out, nullptr));
          EXPECT_LAUNCHED(gated(left, right, rows, s.width, act, g.at(), out, nullptr));
          std::vector<double> expected, product;
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t i = 0; i < s.width; ++i) {
              const double a = x[r * 2 * s.width + i], b = x[r * 2 * s.width + s.width + i];
              expected.push_back(activated(a + bias[i], act));
              product.push_back(activated(a, act) * b);
            }
          EXPECT_LT(distance(y, expected), tolerance(out) * 2)
              << int(in) << int(out) << " " << s.width << " " << int(act);
          EXPECT_LT(distance(g, product), tolerance(out) * 2)
              << int(in) << int(out) << " " << s.width << " " << int(act);
        }
}

TEST(CudaRows, GatedSumsAreTheReference) {
  unsigned seed = 50;
  for (const Type in : kTypes)
    for (const Type out : kTypes)
      for (const Shape& s : kShapes)
        for (const bool modulated : {false, true}) {
          const int64_t rows = s.batch * s.tokens;
          Data residual = Data::normal(out, rows * s.width, ++seed);
          const Data y = Data::normal(in, rows * s.width, ++seed, 1, s.shift), bias = Data::normal(in, s.width, ++seed),
                     gate = Data::normal(Type::f32, s.batch * 2 * s.width, ++seed);
          std::vector<double> expected;
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t i = 0; i < s.width; ++i) {
              const double g = modulated ? gate[(r / s.tokens * 2 + 1) * s.width + i] : 1;
              expected.push_back(residual[r * s.width + i] + g * (y[r * s.width + i] + bias[i]));
            }
          const Rows at{residual.at(), out, s.tokens, s.tokens * s.width, s.width};
          EXPECT_LAUNCHED(gated_add(at, plain_rows(y.at(), in, rows, s.width), rows, s.width, {bias.at(), in},
                                    modulated ? gate.floats() + s.width : nullptr, 2 * s.width, residual.at(),
                                    nullptr));
          EXPECT_LT(distance(residual, expected), tolerance(out)) << int(in) << int(out) << " " << s.width;
        }
}

TEST(CudaRows, CopiesJoinSequences) {
  for (const Type from : kTypes)
    for (const Type to : kTypes) {
      const int64_t batch = 2, width = 19, lengths[] = {3, 0, 4}, all = 7;
      Data out(to, batch * all * width);
      std::vector<double> expected(static_cast<size_t>(out.size()));
      int64_t offset = 0;
      for (const int64_t tokens : lengths) {
        const Data x = Data::normal(from, batch * tokens * width, static_cast<unsigned>(offset + 1));
        const Rows rows{out.at(offset * width), to, tokens, all * width, width};
        EXPECT_LAUNCHED(copy_rows({x.at(), from, tokens, tokens * width, width}, batch * tokens, width, rows, nullptr));
        for (int64_t i = 0; i < x.size(); ++i)
          expected[static_cast<size_t>((i / (tokens * width) * all + offset) * width + i % (tokens * width))] = x[i];
        offset += tokens;
      }
      EXPECT_LT(distance(out, expected), tolerance(to));
    }
}

TEST(CudaRows, EmbeddingGathersAndMarksForeignIds) {
  for (const Type from : kTypes)
    for (const Type to : kTypes)
      for (const int64_t width : {1, 8, 300}) {
        const Data table = Data::normal(from, 5 * width, 3);
        const std::vector<int64_t> ids{4, 0, 0, 3, 5, -1};
        Data out(to, 6 * width);
        EXPECT_LAUNCHED(embedding(ids.data(), 6, table.at(), from, 5, width, out.at(), to, nullptr));
        std::vector<double> expected;
        for (const int64_t id : ids)
          for (int64_t i = 0; i < width; ++i) expected.push_back(id < 0 || id > 4 ? NAN : table[id * width + i]);
        EXPECT_LT(distance(out, expected), tolerance(to));
      }
}

struct HeadShape {
  int64_t batch, d, heads[3], tokens[2], shift;
};
constexpr HeadShape kHeadShapes[] = {{1, 2, {1, 1, 1}, {1, 0}, 0},   {2, 64, {4, 2, 2}, {3, 5}, 0},
                                     {1, 128, {3, 1, 1}, {2, 1}, 0}, {2, 40, {2, 2, 2}, {1, 4}, 1},
                                     {1, 256, {2, 1, 1}, {2, 2}, 0}, {1, 6, {5, 5, 5}, {0, 3}, 0}};

TEST(CudaHeads, NormRotationAndJoiningAreTheReference) {
  unsigned seed = 0;
  for (const Type in : kTypes)
    for (const Type out : kTypes)
      for (const HeadShape& s : kHeadShapes)
        for (int kind = 0; kind < 3; ++kind) {  // nothing; rotated; normed and rotated
          const int64_t all = s.tokens[0] + s.tokens[1];
          const Data rope = Data::normal(Type::f32, 2 * all * s.d, ++seed), weight = Data::normal(out, s.d, ++seed);
          Data results[3] = {Data(out, s.batch * all * s.heads[0] * s.d), Data(out, s.batch * all * s.heads[1] * s.d),
                             Data(out, s.batch * all * s.heads[2] * s.d)};
          std::vector<double> expected[3];
          for (int p = 0; p < 3; ++p) expected[p].resize(static_cast<size_t>(results[p].size()));
          int64_t offset = 0;
          for (const int64_t tokens : s.tokens) {
            std::vector<Data> xs;
            Heads h{.d = s.d,
                    .batch = s.batch,
                    .tokens = tokens,
                    .all_tokens = all,
                    .offset = offset,
                    .rope = rope.floats(),
                    .eps = 1e-6f,
                    .out = out};
            for (int p = 0; p < 3; ++p) {
              const int64_t width = s.heads[p] * s.d, rows = s.batch * tokens;
              xs.push_back(Data::normal(in, rows * width, ++seed, 1, s.shift));
              h.parts[p] = {.x = plain_rows(xs[static_cast<size_t>(p)].at(), in, rows, width),
                            .heads = s.heads[p],
                            .weight = {weight.at(), out},
                            .normed = kind == 2 && p<2, .rotated = kind> 0 && p < 2,
                            .out = results[p].at()};
            }
            EXPECT_LAUNCHED(heads(h, nullptr));
            for (size_t p = 0; p < 3; ++p)
              for (int64_t at = 0; at < xs[p].size(); at += s.d) {
                const int64_t head = at / s.d % s.heads[p], row = at / s.d / s.heads[p],
                              token = row % std::max<int64_t>(tokens, 1) + offset;
                double squares = 0;
                for (int64_t i = 0; i < s.d; ++i) squares += xs[p][at + i] * xs[p][at + i];
                const auto value = [&](int64_t i) {
                  const double x = xs[p][at + i];
                  return h.parts[p].normed ? x / std::sqrt(squares / static_cast<double>(s.d) + 1e-6) * weight[i] : x;
                };
                for (int64_t i = 0; i < s.d; ++i) {
                  double y = value(i);
                  if (h.parts[p].rotated) y = y * rope[token * s.d + i] + value(i ^ 1) * rope[(all + token) * s.d + i];
                  const int64_t to = ((row / tokens * all + token) * s.heads[p] + head) * s.d + i;
                  expected[p][static_cast<size_t>(to)] = y;
                }
              }
            offset += tokens;
          }
          for (int p = 0; p < 3; ++p)
            EXPECT_LT(distance(results[p], expected[p]), tolerance(out)) << s.d << " part " << p << " kind " << kind;
        }
}

TEST(CudaHeads, RefusesOddHeadsThatRotate) {
  Data x = Data::normal(Type::f32, 30, 1), out(Type::f32, 30);
  Heads h{.count = 1, .d = 3, .batch = 1, .tokens = 2, .all_tokens = 2, .rope = x.floats()};
  h.parts[0] = {.x = plain_rows(x.at(), Type::f32, 2, 3), .heads = 1, .rotated = true, .out = out.at()};
  EXPECT_NE(heads(h, nullptr), nullptr);
  h.parts[0].rotated = false;
  EXPECT_EQ(heads(h, nullptr), nullptr);
  h.offset = 1;
  EXPECT_NE(heads(h, nullptr), nullptr);
}

}  // namespace
}  // namespace cairn::ops::cuda
