// Every operation's kernels against its reference in float64, for each instruction set that this machine runs.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "ops/cpu/isa.h"
#include "ops/paged.h"
#include "ops/samples.h"

namespace cairn::ops {

double distance(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  const Tensor x = a.to(kF64), y = b.to(kF64);
  const double d = (x - y).norm().item().toDouble() / (y.norm().item().toDouble() + 1e-30);
  return std::isnan(d) ? INFINITY : d;
}

namespace {

constexpr Activation kActivations[] = {Activation::kNone, Activation::kGelu, Activation::kGeluTanh,
                                       Activation::kQuickGelu, Activation::kSilu};

class Conformance : public testing::TestWithParam<std::tuple<std::string_view, Dtype>> {
 protected:
  void SetUp() override {
    install_cpu();
    install_cpu_paged();
    ASSERT_TRUE(cpu::use_isa(std::get<0>(GetParam())));
  }
  void TearDown() override { ASSERT_TRUE(cpu::use_isa(cpu::usable_isas()[0])); }
  Dtype dtype() const { return std::get<1>(GetParam()); }
  double tolerance() const { return ops::tolerance(dtype()); }
  Tensor make(at::IntArrayRef shape) { return random(shape, dtype(), ++seed_); }
  Weight weight(int64_t out, int64_t in, bool bias = true) { return random_weight(out, in, dtype(), seed_ += 2, bias); }

 private:
  uint64_t seed_ = 100;
};

struct Shape {
  int64_t n, t, in, out;
};
constexpr Shape kShapes[] = {{1, 1, 256, 512},    {1, 3, 64, 64},   {2, 5, 7, 3},       {3, 32, 256, 768},
                             {1, 97, 130, 200},   {2, 13, 255, 65}, {1, 64, 1024, 256}, {1, 200, 33, 70},
                             {1, 110, 3200, 128}, {2, 1, 16, 1}};

TEST_P(Conformance, LinearIsTheReference) {
  for (const Shape& s : kShapes)
    for (Activation act : kActivations)
      for (Dtype out : {kF32, dtype()}) {
        const Tensor x = make({s.n, s.t, s.in});
        const Weight w = weight(s.out, s.in, s.t != 64);
        const Tensor y = linear(x, w, act, out);
        EXPECT_EQ(y.scalar_type(), out);
        EXPECT_LT(distance(y, reference::linear(doubled(x), doubled(w), act, kF64)), tolerance())
            << s.n << "x" << s.t << "x" << s.in << "x" << s.out << " activation " << static_cast<int>(act);
      }
}

TEST_P(Conformance, ARowDoesNotDependOnTheRowsBesideIt) {
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{64, 96}, {130, 70}, {1024, 256}, {3000, 64}}) {
    const Weight w = weight(out, in);
    const Tensor x = make({1, 70, in}), whole = linear(x, w, Activation::kGeluTanh, kF32);
    for (int64_t rows : {1, 2, 3, 7, 16, 17, 33})
      for (int64_t first = 0; first + rows <= 70; first += rows + 5)
        EXPECT_TRUE(
            linear(x.narrow(1, first, rows), w, Activation::kGeluTanh, kF32).equal(whole.narrow(1, first, rows)))
            << in << "x" << out << " rows " << first << " + " << rows;
  }
}

TEST_P(Conformance, LinearReadsJoinedAndStridedInputs) {
  for (int64_t width : {96, 61}) {
    const Tensor a = make({2, 20, 256}).narrow(1, 3, 11), b = make({2, 11, 3 * width}).narrow(2, width, width);
    const Weight w = weight(130, 256 + width);
    EXPECT_LT(distance(linear({a, b}, w, Activation::kSilu, kF32),
                       reference::linear({doubled(a), doubled(b)}, doubled(w), Activation::kSilu, kF64)),
              tolerance());
  }
}

TEST_P(Conformance, LinearTakesInputsOfAnotherTypeAndTwoDimensions) {
  const Tensor x = random({9, 64}, dtype() == kF32 ? kBF16 : kF32, 5);
  const Weight w = weight(70, 64);
  const Tensor y = linear(x, w, Activation::kNone, kF32);
  EXPECT_LT(distance(y, reference::linear(doubled(x.to(dtype())), doubled(w), Activation::kNone, kF64)), tolerance());
}

TEST_P(Conformance, LinearAddIsTheReference) {
  for (const Shape& s : kShapes)
    for (Dtype stream : {kF32, dtype()})
      for (bool gated : {false, true}) {
        const Tensor x = make({s.n, s.t, s.in}), residual = random({s.n, s.t + 2, s.out}, stream, 7).narrow(1, 1, s.t);
        const Tensor modulation = gated ? random({s.n, 3, s.out}, kF32, 8) : Tensor();
        const Weight w = weight(s.out, s.in);
        const Tensor y = linear_add(residual, x, w, modulation, 2);
        EXPECT_EQ(y.scalar_type(), stream);
        EXPECT_LT(distance(y, reference::linear_add(doubled(residual), doubled(x), doubled(w), doubled(modulation), 2)),
                  tolerance())
            << s.n << "x" << s.t << "x" << s.in << "x" << s.out;
      }
}

TEST_P(Conformance, LinearGluIsTheReference) {
  for (const Shape& s : kShapes)
    for (Activation act : kActivations) {
      const Tensor x = make({s.n, s.t, s.in});
      const Weight gate = weight(s.out, s.in, false), up = weight(s.out, s.in, false);
      EXPECT_LT(
          distance(linear_glu(x, gate, up, act), reference::linear_glu(doubled(x), doubled(gate), doubled(up), act)),
          2 * tolerance())
          << s.t << "x" << s.in << "x" << s.out;
    }
}

TEST_P(Conformance, NormsAreTheReference) {
  for (int64_t width : {1, 7, 64, 256, 1000, 3072})
    for (Dtype out : {kF32, dtype()})
      for (bool weighted : {false, true}) {
        const Tensor x = (make({2, 9, width}) * 3.0 + 1.0).narrow(1, 1, 7);
        const Tensor w = weighted ? make({width}) : Tensor(), b = weighted ? random({width}, kF32, 3) : Tensor();
        if (width > 1) {
          EXPECT_LT(distance(layer_norm(x, w, b, 1e-6, out),
                             reference::layer_norm(doubled(x), doubled(w), doubled(b), 1e-6, kF64)),
                    tolerance())
              << width;
          const Tensor modulation = random({2, 6, width}, kF32, 4);
          EXPECT_LT(distance(norm_modulate(x, modulation, 3, 1, 1e-6, out),
                             reference::norm_modulate(doubled(x), doubled(modulation), 3, 1, 1e-6, kF64)),
                    tolerance())
              << width;
        }
        EXPECT_LT(distance(rms_norm(x, w, 1e-6, out), reference::rms_norm(doubled(x), doubled(w), 1e-6, kF64)),
                  tolerance())
            << width;
      }
}

// Prompts in chunks and single tokens, of several sequences in one step, over blocks in any order.
TEST_P(Conformance, PagedAttentionIsTheReferenceAndChunksAreTheWhole) {
  for (int64_t d : {16, 64, 80, 128})
    for (int64_t share : {1, 3})
      for (int64_t size : {16, 128})
        for (const AttentionRule rule : {AttentionRule{.scale = 0.2}, {.scale = 0.3, .softcap = 5.0}, {.window = 19}}) {
          const int64_t groups = 2, blocks = 24;
          const Tensor k = make({166, groups, d}), v = make({166, groups, 32}), q = make({166, groups * share, d});
          std::vector<int32_t> order(static_cast<size_t>(blocks));
          for (int64_t i = 0; i < blocks; ++i) order[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7 % blocks);
          // parts: which sequence, of 1, 37 and 128 tokens, is run up to which.
          const auto run = [&](const std::vector<std::pair<int64_t, int64_t>>& parts, bool kernel) {
            const Dtype type = kernel ? dtype() : kF64;
            const Tensor k_cache = zeros({blocks, size, groups, d}, type),
                         v_cache = zeros({blocks, size, groups, 32}, type);
            Tensor out = zeros({166, groups * share * 32}, type);
            int64_t done[3] = {0, 0, 0}, first = 0;
            for (const auto& [which, until] : parts) {
              first = which == 0 ? 0 : which == 1 ? 1 : 38;
              const int64_t rows = until - done[which];
              Tensor slots = empty({rows}, Dtype::Long);
              const int32_t* table = order.data() + 8 * which;
              for (int64_t i = 0; i < rows; ++i)
                static_cast<int64_t*>(slots.mutable_data_ptr())[i] =
                    table[(done[which] + i) / size] * size + (done[which] + i) % size;
              const auto part = [&](const Tensor& t) { return t.narrow(0, first + done[which], rows).to(type); };
              (kernel ? write_kv(part(k), part(v), k_cache, v_cache, slots)
                      : reference::write_kv(part(k), part(v), k_cache, v_cache, slots));
              const PagedSequence s{.row = 0, .rows = rows, .keys = until, .blocks = table};
              const Tensor y = kernel ? paged_attention(part(q), k_cache, v_cache, s, rule)
                                      : reference::paged_attention(part(q), k_cache, v_cache, s, rule);
              out.narrow(0, first + done[which], rows).copy_(y);
              done[which] = until;
            }
            return out;
          };
          const Tensor whole = run({{0, 1}, {1, 37}, {2, 128}}, true);
          EXPECT_LT(distance(whole, run({{0, 1}, {1, 37}, {2, 128}}, false)), 2 * tolerance())
              << d << " " << share << " " << size;
          EXPECT_TRUE(run({{1, 5}, {0, 1}, {2, 1}, {1, 36}, {2, 77}, {2, 128}, {1, 37}}, true).equal(whole));
        }
}

TEST_P(Conformance, QkvIsTheReference) {
  for (int64_t d : {16, 32, 48, 64, 80, 96, 128})
    for (int streams : {1, 2})
      for (bool normed : {false, true}) {
        const int64_t heads = 3, width = 128, text = 7, image = 33;
        const Tensor rope = normed ? random({2, streams == 2 ? text + image : image, d}, kF32, 11) : Tensor();
        std::vector<Weight> w, w64;
        for (int i = 0; i < 6; ++i) w.push_back(weight(heads * d, width)), w64.push_back(doubled(w.back()));
        std::vector<QkvStream> s, s64;
        const auto add = [&](int64_t tokens, size_t first) {
          const Tensor x = make({2, tokens, width}), qn = normed ? make({d}) : Tensor(),
                       kn = normed ? make({d}) : Tensor();
          s.push_back({x, w[first], w[first + 1], w[first + 2], qn, kn});
          s64.push_back({doubled(x), w64[first], w64[first + 1], w64[first + 2], doubled(qn), doubled(kn)});
        };
        if (streams == 2) add(text, 3);
        add(image, 0);
        const Qkv y = qkv(s, rope, d, 1e-6), expected = reference::qkv(s64, doubled(rope), d, 1e-6);
        EXPECT_LT(distance(y.q, expected.q), tolerance()) << d;
        EXPECT_LT(distance(y.k, expected.k), tolerance()) << d;
        EXPECT_LT(distance(y.v, expected.v), tolerance()) << d;
      }
}

struct Heads {
  int64_t n, t, s, h, d;
};
constexpr Heads kHeads[] = {{1, 96, 96, 4, 64},  {2, 1, 1, 1, 16},    {1, 77, 77, 3, 64}, {3, 5, 33, 2, 48},
                            {1, 13, 200, 3, 80}, {1, 65, 65, 2, 128}, {2, 31, 63, 5, 32}, {1, 300, 300, 1, 256}};

TEST_P(Conformance, AttentionIsTheReference) {
  for (const Heads& s : kHeads)
    for (bool causal : {false, true})
      for (bool biased : {false, true}) {
        if (causal && (s.t != s.s || biased)) continue;  // the reference takes one or the other
        const Tensor joined = make({s.n, s.t, 2, s.h, s.d}), k = make({s.n, s.s, s.h, s.d}),
                     v = make({s.n, s.s, s.h, s.d});
        const Tensor q = joined.select(2, 1), bias = biased ? random({1, s.h, s.t, s.s}, kF32, 9) : Tensor();
        const double scale = 1 / std::sqrt(static_cast<double>(s.d));
        EXPECT_LT(distance(attention(q, k, v, bias, causal, scale),
                           reference::attention(doubled(q), doubled(k), doubled(v), doubled(bias), causal, scale)),
                  tolerance())
            << s.t << "x" << s.s << "x" << s.d << " causal " << causal << " bias " << biased;
      }
}

TEST_P(Conformance, AttentionBiasMayMaskKeysAndBroadcast) {
  const Tensor q = make({2, 9, 2, 64}), k = make({2, 40, 2, 64}), v = make({2, 40, 2, 64});
  Tensor bias = zeros({2, 1, 1, 40}, kF32);
  bias.narrow(0, 1, 1).narrow(3, 25, 15).fill_(-INFINITY);
  const Tensor y = attention(q, k, v, bias, false, 0.125);
  const Tensor alone = attention(q.narrow(0, 1, 1), k.narrow(0, 1, 1).narrow(1, 0, 25),
                                 v.narrow(0, 1, 1).narrow(1, 0, 25), {}, false, 0.125);
  EXPECT_LT(distance(y.narrow(0, 1, 1), alone), 1e-6);
}

TEST_P(Conformance, RowsDoNotDependOnTheirBatch) {
  const Weight w = weight(768, 512);
  const Tensor x = make({3, 43, 512}), modulation = random({3, 2, 768}, kF32, 1),
               stream = random({3, 43, 768}, kF32, 2);
  const Tensor y = linear_add(stream, x, w, modulation, 1), h = linear(x, w, Activation::kGelu, dtype());
  const Tensor a =
      attention(x.unflatten(-1, {8, 64}), x.unflatten(-1, {8, 64}), x.unflatten(-1, {8, 64}), {}, false, 0.1);
  for (int64_t i = 0; i < 3; ++i) {
    const auto row = [&](const Tensor& t) { return t.narrow(0, i, 1); };
    const Tensor heads = row(x).unflatten(-1, {8, 64});
    EXPECT_TRUE(linear_add(row(stream), row(x), w, row(modulation), 1).equal(row(y)));
    EXPECT_TRUE(linear(row(x), w, Activation::kGelu, dtype()).equal(row(h)));
    EXPECT_TRUE(attention(heads, heads, heads, {}, false, 0.1).equal(row(a)));
    EXPECT_TRUE(linear(row(x).narrow(1, 5, 1), w, Activation::kGelu, dtype()).equal(row(h).narrow(1, 5, 1)));
  }
}

TEST_P(Conformance, NansAndInfinitiesStayVisible) {
  const Weight w = weight(96, 64);
  for (double bad : {std::nan(""), static_cast<double>(INFINITY)}) {
    Tensor x = make({1, 8, 64});
    x.select(1, 3).select(1, 5).fill_(bad);
    for (Activation act : kActivations) {
      const Tensor y = linear(x, w, act, dtype());
      EXPECT_FALSE(y.select(1, 3).isfinite().all().item().toBool()) << static_cast<int>(act);
      EXPECT_TRUE(y.select(1, 4).isfinite().all().item().toBool());
      EXPECT_TRUE(std::isinf(bad) || y.select(1, 3).isnan().all().item().toBool());
    }
    EXPECT_TRUE(layer_norm(x, {}, {}, 1e-6, dtype()).select(1, 3).isnan().all().item().toBool());
    const Tensor h = x.unflatten(-1, {1, 64});
    EXPECT_TRUE(attention(h, make({1, 8, 1, 64}), make({1, 8, 1, 64}), {}, false, 1)
                    .select(1, 3)
                    .isnan()
                    .all()
                    .item()
                    .toBool() ||
                std::isinf(bad));
  }
}

TEST_P(Conformance, ThreadsMayCallAtOnce) {
  const Tensor x = make({1, 96, 256});
  const Weight w = weight(512, 256);
  const Tensor expected = reference::linear(x, w, Activation::kSilu, dtype());
  std::vector<std::thread> threads;
  std::vector<double> worst(3);
  for (double& d : worst)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) d = std::max(d, distance(linear(x, w, Activation::kSilu, dtype()), expected));
    });
  for (auto& t : threads) t.join();
  for (double d : worst) EXPECT_LT(d, tolerance());
}

std::string name(const testing::TestParamInfo<std::tuple<std::string_view, Dtype>>& info) {
  return std::string(std::get<0>(info.param)) + "_" + dtype_name(std::get<1>(info.param));
}
INSTANTIATE_TEST_SUITE_P(Cpu, Conformance,
                         testing::Combine(testing::ValuesIn(cpu::usable_isas()), testing::Values(kF32, kBF16)), name);

TEST(Isa, UnknownNamesAreRefusedWithTheKnownOnes) {
  const auto r = cpu::use_isa("mmx");
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().what.find("baseline"), std::string::npos);
}

TEST(Fallback, HalfPrecisionIsTheReference) {
  install_cpu();
  const Tensor x = random({1, 8, 64}, kF16, 1);
  const Weight w = random_weight(96, 64, kF16, 2);
  EXPECT_TRUE(linear(x, w, Activation::kSilu, kF16).equal(reference::linear(x, w, Activation::kSilu, kF16)));
}

}  // namespace
}  // namespace cairn::ops
