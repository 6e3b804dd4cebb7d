// Products with their epilogues, and what reads rows, against sums in double.
#include "ops/cpu/buffers.h"

namespace cairn::ops::cpu {
namespace {

class Products : public KernelTest {};
CAIRN_EVERY_KERNEL(Products);
class RowKernels : public KernelTest {};
CAIRN_EVERY_KERNEL(RowKernels);

struct Shape {
  int64_t batches, tokens, in, out;
};
constexpr Shape kShapes[] = {{1, 1, 64, 64},   {1, 3, 130, 200}, {2, 5, 6, 3},    {1, 47, 34, 70},
                             {2, 13, 254, 65}, {3, 1, 16, 1},    {1, 2, 1090, 64}};

// x (rows, in) times w (out, in), plus bias.
std::vector<double> product(const Buffer& x, const Buffer& w, const PackedWeight& p, int64_t rows) {
  const int64_t in = p.packed.in, out = p.packed.out;
  std::vector<double> y(static_cast<size_t>(rows * out));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < out; ++o) {
      double sum = p.bias[o];
      for (int64_t i = 0; i < in; ++i) sum += x[r * in + i] * w[o * in + i];
      y[static_cast<size_t>(r * out + o)] = sum;
    }
  return y;
}

TEST_P(Products, AreSumsWithAnActivation) {
  for (const Shape& s : kShapes)
    for (const Act act : {Act::kNone, Act::kGelu, Act::kGeluTanh, Act::kQuickGelu, Act::kSilu})
      for (const Type out : {Type::kF32, type()}) {
        if (act != Act::kNone && s.in > 200) continue;
        const int64_t rows_in = s.batches * s.tokens;
        Buffer x = make(input_type(), rows_in * s.in), y(out, rows_in * s.out);
        const Buffer w = make(type(), s.out * s.in, 1 / std::sqrt(static_cast<double>(s.in)));
        const PackedWeight p(w, s.out, s.in, 5);
        const Rows input = rows(x, s.tokens, s.in);
        Product job{&input, 1, s.batches, s.tokens, {&p.packed, nullptr}, {}};
        job.epilogue.act = act;
        job.epilogue.out = rows(y, s.tokens, s.out);
        for (const int workers : {1, 3}) {
          y = Buffer(out, y.count());
          job.epilogue.out.data = y.data();
          share(workers, kernels().products, &job, int64_t{1});
          const auto sums = product(x, w, p, rows_in);
          EXPECT_LT(distance(y, [&](int64_t i) { return activated(act, sums[static_cast<size_t>(i)]); }),
                    tolerance(out))
              << s.tokens << "x" << s.in << "x" << s.out << " activation " << static_cast<int>(act);
        }
      }
}

TEST_P(Products, JoinStridedInputsAndAddAGatedResult) {
  const int64_t n = 2, t = 7, a = 34, b = 66, out = 70;
  Buffer left = make(input_type(), n * (t + 3) * a), right = make(input_type(), n * t * 3 * b);
  const Buffer w = make(type(), out * (a + b), 0.1), gate = make(Type::kF32, n * 2 * out);
  const PackedWeight p(w, out, a + b, 6);
  Buffer old = make(Type::kF32, n * t * out), y(Type::kF32, n * t * out);
  const Rows inputs[] = {{left.data(2 * a), left.type(), a, (t + 3) * a, a},
                         {right.data(b), right.type(), b, t * 3 * b, 3 * b}};
  Product job{inputs, 2, n, t, {&p.packed, nullptr}, {}};
  job.epilogue.kind = Epilogue::kAdd;
  job.epilogue.out = rows(y, t, out);
  job.epilogue.residual = rows(old, t, out);
  job.epilogue.gate = gate.floats() + out;
  job.epilogue.gate_stride = 2 * out;
  share(2, kernels().products, &job, int64_t{1});
  EXPECT_LT(distance(y,
                     [&](int64_t i) {
                       const int64_t row = i / out, o = i % out, batch = row / t, token = row % t;
                       double sum = p.bias[o];
                       for (int64_t k = 0; k < a; ++k)
                         sum += left[(batch * (t + 3) + 2 + token) * a + k] * w[o * (a + b) + k];
                       for (int64_t k = 0; k < b; ++k)
                         sum += right[(batch * t + token) * 3 * b + b + k] * w[o * (a + b) + a + k];
                       return old[i] + gate[(2 * batch + 1) * out + o] * sum;
                     }),
            tolerance(Type::kF32));
}

TEST_P(Products, MakeGatedUnits) {
  for (const auto& [tokens, in, out] : {std::tuple<int64_t, int64_t, int64_t>{1, 64, 64}, {37, 130, 70}}) {
    Buffer x = make(input_type(), tokens * in), y(type(), tokens * out);
    const Buffer gate = make(type(), out * in, 0.2), up = make(type(), out * in, 0.2);
    const PackedWeight g(gate, out, in, 7), u(up, out, in, 8);
    const Rows input = rows(x, tokens, in);
    Product job{&input, 1, 1, tokens, {&g.packed, &u.packed}, {}};
    job.epilogue.kind = Epilogue::kGlu;
    job.epilogue.act = Act::kSilu;
    job.epilogue.out = rows(y, tokens, out);
    share(2, kernels().products, &job, int64_t{1});
    const auto a = product(x, gate, g, tokens), b = product(x, up, u, tokens);
    EXPECT_LT(distance(y,
                       [&](int64_t i) {
                         const auto at = static_cast<size_t>(i);
                         return activated(Act::kSilu, a[at]) * b[at];
                       }),
              2 * tolerance(type()));
  }
}

TEST_P(Products, NormAndTurnHeads) {
  const int64_t tokens = 9, in = 66;
  for (const int64_t d : {16, 48, 64, 128})
    for (const bool turned : {false, true}) {
      const int64_t heads = 3, out = heads * d;
      Buffer x = make(input_type(), tokens * in), y(Type::kF32, tokens * out);
      const Buffer w = make(type(), out * in, 0.1), norm = make(Type::kF32, d), cos = make(Type::kF32, tokens * d),
                   sin = make(Type::kF32, tokens * d);
      const PackedWeight p(w, out, in, 9);
      const Rows input = rows(x, tokens, in);
      Product job{&input, 1, 1, tokens, {&p.packed, nullptr}, {}};
      job.epilogue.kind = Epilogue::kHeads;
      job.epilogue.head_dim = d;
      job.epilogue.norm = norm.floats();
      job.epilogue.eps = 1e-6f;
      job.epilogue.out = rows(y, tokens, out);
      if (turned) job.epilogue.cos = cos.floats(), job.epilogue.sin = sin.floats();
      share(2, kernels().products, &job, int64_t{1});
      const auto sums = product(x, w, p, tokens);
      EXPECT_LT(distance(y,
                         [&](int64_t i) {
                           const int64_t head = i / d * d, c = i % d, token = i / out;
                           double squares = 0;
                           for (int64_t k = 0; k < d; ++k) squares += std::pow(sums[static_cast<size_t>(head + k)], 2);
                           const double scale = 1 / std::sqrt(squares / static_cast<double>(d) + 1e-6);
                           const auto value = [&](int64_t k) {
                             return sums[static_cast<size_t>(head + k)] * scale * norm[k];
                           };
                           return turned ? value(c) * cos[token * d + c] + value(c ^ 1) * sin[token * d + c] : value(c);
                         }),
                2 * tolerance(Type::kF32))
          << d;
    }
}

TEST_P(Products, ARowDoesNotDependOnTheRowsBesideIt) {
  const int64_t in = 1034, out = 70, all = 40;
  Buffer x = make(input_type(), all * in), whole(Type::kF32, all * out);
  const PackedWeight p(make(type(), out * in, 0.05), out, in, 10);
  const auto run = [&](Buffer& y, int64_t first, int64_t count) {
    const Rows input{x.data(first * in), x.type(), in, count * in, in};
    Product job{&input, 1, 1, count, {&p.packed, nullptr}, {}};
    job.epilogue.out = rows(y, count, out);
    share(1, kernels().products, &job, int64_t{1});
  };
  run(whole, 0, all);
  for (const int64_t count : {1, 2, 3, 7, 17, 33})
    for (int64_t first = 0; first + count <= all; first += 11) {
      Buffer y(Type::kF32, count * out);
      run(y, first, count);
      EXPECT_EQ(std::memcmp(y.data(), whole.data(first * out), static_cast<size_t>(count * out) * 4), 0)
          << first << " + " << count;
    }
}

TEST_P(RowKernels, NormRows) {
  const int64_t n = 2, t = 5;
  for (const int64_t width : {1, 7, 64, 130, 259})
    for (const bool centre : {false, true}) {
      if (centre && width == 1) continue;  // 0 / 0
      Buffer x = make(type(), n * (t + 2) * width, 3), y(type(), n * t * width);
      const Buffer mul = make(type(), width), add = make(Type::kF32, n * width);
      Norm norm;
      norm.x = {x.data(width), type(), width, (t + 2) * width, width};
      norm.out = rows(y, t, width);
      norm.batches = n, norm.tokens = t, norm.centre = centre, norm.eps = 1e-6f, norm.mul_plus = 1;
      norm.mul = mul.data(), norm.mul_type = type();
      norm.add = add.data(), norm.add_stride = width;
      share(3, kernels().norm, norm);
      EXPECT_LT(distance(y,
                         [&](int64_t i) {
                           const int64_t row = i / width, c = i % width, batch = row / t;
                           const int64_t from = (batch * (t + 2) + 1 + row % t) * width;
                           double mean = 0, squares = 0;
                           for (int64_t k = 0; centre && k < width; ++k)
                             mean += x[from + k] / static_cast<double>(width);
                           for (int64_t k = 0; k < width; ++k) squares += std::pow(x[from + k] - mean, 2);
                           const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-6);
                           return (x[from + c] - mean) * scale * (mul[c] + 1) + add[batch * width + c];
                         }),
                tolerance(type()))
          << width;
    }
}

TEST_P(RowKernels, CopyPadsWithZeros) {
  for (const Type to : {Type::kF32, Type::kBF16})
    for (const int64_t width : {1, 15, 64, 67}) {
      Buffer x = make(type(), 6 * width), y = make(to, 6 * (width + 21));
      share(2, kernels().copy, Copy{rows(x, 3, width), rows(y, 3, width + 21), 2, 3});
      for (int64_t i = 0; i < y.count(); ++i) {
        const int64_t c = i % (width + 21);
        ASSERT_EQ(y[i], c < width ? x[i / (width + 21) * width + c] : 0) << width << " " << i;
      }
    }
}

TEST_P(RowKernels, RoundToBf16AsTheNearestEven) {
  const float values[] = {1.00390625f, 1.01171875f, -1.00390625f, 3.3e38f, 1e-40f, 0.f, 65535.f, 1.0039064f};
  Buffer x(Type::kF32, 8), y(Type::kBF16, 8);
  for (int64_t i = 0; i < 8; ++i) x.set(i, static_cast<double>(values[i]));
  share(1, kernels().copy, Copy{rows(x, 1, 8), rows(y, 1, 8), 1, 1});
  for (int64_t i = 0; i < 8; ++i) {
    // Conversions of processors take a denormal number for zero.
    const double expected = from_bf16(to_bf16(x[i]));
    EXPECT_TRUE(y[i] == expected || (std::abs(expected) < 1.2e-38 && y[i] == 0)) << x[i] << " " << y[i];
  }
}

}  // namespace
}  // namespace cairn::ops::cpu
