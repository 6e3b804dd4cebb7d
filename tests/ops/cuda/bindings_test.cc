// The bindings and the simulated kernels behind them, on tensors of this processor, against the references in float64.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/cuda/cuda.h"
#include "ops/cuda/cuda_sim.h"
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

class CudaBindings : public testing::TestWithParam<Dtype> {
 protected:
  Dtype dtype() const { return GetParam(); }
  Tensor make(at::IntArrayRef shape, Dtype as) { return random(shape, as, ++seed_); }
  Tensor make(at::IntArrayRef shape) { return make(shape, dtype()); }
  Weight weight(int64_t out, int64_t in, bool bias = true) { return random_weight(out, in, dtype(), seed_ += 2, bias); }
  void near(const Tensor& got, const Tensor& want, double factor = 1) {
    EXPECT_LT(distance(got, want), factor * (dtype() == kF32 ? 3e-6 : 6e-3));
  }
  void SetUp() override { before_ = cuda_sim::launches(); }
  void TearDown() override { EXPECT_GT(cuda_sim::launches(), before_) << "references did the work"; }

 private:
  uint64_t seed_ = 100;
  int64_t before_ = 0;
};

TEST_P(CudaBindings, Sampling) {
  const Tensor logits = make({5, 700}, kF32) * 3, wider = make({5, 800}, kF32) * 3;
  Sampling how{.touches = {{.token = 5, .bias = 100}, {.token = 6, .flags = Touch::kBanned}, {.token = 700}},
               .allowed = {1u << 9, 1u << 3},
               .allowed_words = 2};
  for (int i = 0; i < 5; ++i) how.rows.push_back({.uniform = 0.2 * i});
  how.rows[0].greedy = 1;
  how.rows[1].touches = 3;
  how.rows[2].top_k = 7, how.rows[2].temperature = 0.5;
  how.rows[3].allowed = 0;
  how.rows[4].top_p = 0.6, how.rows[4].min_p = 0.01;
  for (const Tensor& t : {logits, wider.narrow(1, 40, 700)}) {
    const Tensor ours = t.clone(), theirs = t.contiguous().clone();
    const auto got = cuda::sample(t.is_contiguous() ? ours : wider.clone().narrow(1, 40, 700), how);
    const auto want = reference::sample(theirs, how);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].token, want[i].token) << i;
      EXPECT_EQ(got[i].state, Sampled::kChosen);
      EXPECT_NEAR(got[i].logprob, want[i].logprob, 1e-5);
    }
    EXPECT_EQ(got[1].token, 5);
    EXPECT_TRUE(got[3].token == 9 || got[3].token == 35);
  }
}

TEST_P(CudaBindings, Linears) {
  const Tensor x = make({2, 5, 24}), more = make({2, 5, 9});
  for (const Activation act : kActivations)
    for (const Dtype out : {kF32, dtype()}) {
      const Weight w = weight(40, 33, act != Activation::kSilu);
      const Tensor y = cuda::linear({x, more}, w, act, out);
      EXPECT_EQ(y.scalar_type(), out);
      near(y, reference::linear({doubled(x), doubled(more)}, doubled(w), act, kF64));
      const Weight gate = weight(16, 24, false), up = weight(16, 24, false);
      near(cuda::linear_glu(x, gate, up, act), reference::linear_glu(doubled(x), doubled(gate), doubled(up), act), 2);
    }
  for (const bool modulated : {false, true}) {
    const Tensor residual = make({2, 9, 40}, kF32).narrow(1, 2, 5);
    const Tensor modulation = modulated ? make({2, 3, 40}, kF32) : Tensor();
    const Weight w = weight(40, 24);
    near(cuda::linear_add(residual, x, w, modulation, 1),
         reference::linear_add(doubled(residual), doubled(x), doubled(w), doubled(modulation), 1));
  }
}

TEST_P(CudaBindings, Norms) {
  for (const Dtype out : {kF32, dtype()}) {
    const Tensor x = make({2, 7, 72}).narrow(1, 1, 4), modulation = make({2, 3, 72}, kF32);
    const Tensor weight = make({72}), bias = make({72}, kF32);
    near(cuda::layer_norm(x, weight, bias, 1e-5, out),
         reference::layer_norm(doubled(x), doubled(weight), doubled(bias), 1e-5, kF64));
    near(cuda::layer_norm(x, {}, {}, 1e-5, out), reference::layer_norm(doubled(x), {}, {}, 1e-5, kF64));
    near(cuda::rms_norm(x, weight, 1e-6, out), reference::rms_norm(doubled(x), doubled(weight), 1e-6, kF64));
    near(cuda::norm_modulate(x, modulation, 0, 2, 1e-6, out),
         reference::norm_modulate(doubled(x), doubled(modulation), 0, 2, 1e-6, kF64));
  }
}

TEST_P(CudaBindings, QkvJoinsStreams) {
  const Weight q = weight(4 * 16, 24), k = weight(2 * 16, 24, false), v = weight(2 * 16, 24);
  const Tensor text = make({2, 3, 24}), picture = make({2, 5, 24}), qn = make({16}), kn = make({16}),
               rope = make({2, 8, 16}, kF32);
  for (const bool normed : {false, true})
    for (const bool rotated : {false, true}) {
      const Weight q64 = doubled(q), k64 = doubled(k), v64 = doubled(v);
      const auto stream = [&](const Tensor& x) {
        return QkvStream{x, q, k, v, normed ? qn : Tensor(), normed ? kn : Tensor()};
      };
      const auto stream64 = [&](const Tensor& x) {
        return QkvStream{doubled(x), q64, k64, v64, normed ? doubled(qn) : Tensor(), normed ? doubled(kn) : Tensor()};
      };
      const Qkv y = cuda::qkv({stream(text), stream(picture)}, rotated ? rope : Tensor(), 16, 1e-6);
      const Qkv z = reference::qkv({stream64(text), stream64(picture)}, rotated ? doubled(rope) : Tensor(), 16, 1e-6);
      near(y.q, z.q), near(y.k, z.k), near(y.v, z.v);
    }
}

TEST_P(CudaBindings, GathersAndJoins) {
  const Tensor a = make({2, 3, 10}), b = make({2, 9, 10}).narrow(1, 2, 4), table = make({6, 10});
  near(cuda::concat({a, b}), reference::concat({doubled(a), doubled(b)}));
  const Tensor ids = zeros({4}, Dtype::Long);
  ids[1].fill_(5), ids[3].fill_(2);
  near(cuda::embedding(ids, table, kF32), reference::embedding(ids, doubled(table), kF64));
}

TEST_P(CudaBindings, PagedAttention) {
  const int64_t heads = 4, groups = 2, d = 64, e = 32, block_size = 4;
  const std::vector<int32_t> first{3, 1, 6}, second{0, 5};
  const std::vector<PagedSequence> sequences{{0, 7, 10, first.data()}, {7, 1, 6, second.data()}};
  const at::ArrayRef<PagedSequence> list(sequences);
  Tensor keys = zeros({8, block_size, groups, d}, dtype()), values = zeros({8, block_size, groups, e}, dtype());
  const Tensor k = make({16, groups, d}), v = make({16, groups, e}), q = make({8, heads, d});
  Tensor slots = zeros({16}, Dtype::Long);
  for (int64_t t = 0; t < 16; ++t) {
    const auto& blocks = t < 10 ? first : second;
    const int64_t at = t < 10 ? t : t - 10;
    slots[t].fill_(blocks[static_cast<size_t>(at / block_size)] * block_size + at % block_size);
  }
  cuda::write_kv(k, v, keys, values, slots);
  Tensor keys64 = zeros(keys.sizes(), kF64), values64 = zeros(values.sizes(), kF64);
  reference::write_kv(doubled(k), doubled(v), keys64, values64, slots);
  near(keys, keys64, 1e-9), near(values, values64, 1e-9);
  for (const int64_t window : {0, 3}) {
    const AttentionRule rule{.scale = 0.125, .softcap = 8, .window = window};
    const Tensor want = reference::paged_attention(doubled(q), keys64, values64, list, rule);
    near(cuda::paged_attention(q, keys, values, list, rule), want);
    Tensor tables = zeros({2, 4}, Dtype::Int), lengths = zeros({2}, Dtype::Int), rows = zeros({3}, Dtype::Int);
    for (size_t i = 0; i < 3; ++i) tables[0][static_cast<int64_t>(i)].fill_(first[i]);
    for (size_t i = 0; i < 2; ++i) tables[1][static_cast<int64_t>(i)].fill_(second[i]);
    lengths[0].fill_(10), lengths[1].fill_(6), rows[1].fill_(7), rows[2].fill_(8);
    near(cuda::paged_attention(q, keys, values, Paging(list, tables, lengths, rows), rule), want);
    // As in a graph that was captured when the sequences were shorter.
    std::vector<PagedSequence> then = sequences;
    then[0].keys = 7, then[1].keys = 1;
    near(cuda::paged_attention(q, keys, values, Paging(then, tables, lengths, rows), rule), want);
  }
  // Values that are the first numbers of keys.
  const AttentionRule rule{.scale = 0.125};
  near(cuda::paged_attention(q, keys, keys.narrow(3, 0, 40), list, rule),
       reference::paged_attention(doubled(q), keys64, keys64.narrow(3, 0, 40), list, rule));
}

TEST_P(CudaBindings, StepCaches) {
  const Tensor after = make({2, 9, 48}).narrow(1, 1, 6), before = make({2, 6, 48});
  for (const int64_t stride : {1, 4})
    for (const Tensor& from : {before, Tensor()}) {
      Tensor out, want;
      cuda::residual(after, from, stride, out);
      reference::residual(doubled(after), doubled(from), stride, want);
      near(out, want);
      const Tensor anchor = (out.to(kF32) * 1.1).to(dtype());
      for (const double important : {0.0, 0.1}) {
        const Change got = cuda::change(after, from, anchor, stride, important);
        const Change all = reference::change(after, from, anchor, stride, important);
        EXPECT_NEAR(got.difference, all.difference, 1e-4 * all.difference);
        EXPECT_NEAR(got.magnitude, all.magnitude, 1e-4 * all.magnitude);
      }
    }
  const Tensor a = make({2, 6, 48}), b = make({2, 6, 48}), c = make({2, 6, 48});
  std::vector<Tensor> ladder{a.clone(), b.clone(), c.clone()}, want{doubled(a), doubled(b), doubled(c)};
  cuda::taylor_update(after, before, ladder, 2);
  reference::taylor_update(doubled(after), doubled(before), want, 2);
  for (size_t i = 0; i < 3; ++i) near(ladder[i], want[i]);
  for (const std::vector<double>& weights : {std::vector<double>{1, -0.5, 2}, {1, 2, 3, -4, 5, 6}})
    for (const Tensor& base : {before, Tensor()})
      near(cuda::weighted_sum({a, b, c}, base, weights),
           reference::weighted_sum({doubled(a), doubled(b), doubled(c)}, doubled(base), weights), 2);
  const auto got = cuda::gram({a, b, c}), all = reference::gram({a, b, c});
  ASSERT_EQ(got.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) EXPECT_NEAR(got[i], all[i], 1e-9 * (1 + std::fabs(all[i])));
}

TEST_P(CudaBindings, Pictures) {
  const Tensor x = make({2, 5, 4, 12}), residual = make({2, 5, 4, 6}, kF32);
  const GroupNorm norm{make({12}), make({12}, kF32), 3, 1e-6, true};
  const GroupNorm norm64{doubled(norm.weight), doubled(norm.bias), 3, 1e-6, true};
  near(cuda::group_norm(x, norm, kF32), reference::group_norm(doubled(x), norm64, kF64));
  const Weight w((make({6, 12, 3, 3}, kF32) * 0.1).to(dtype()), make({6}));
  near(cuda::norm_conv(x, norm, w, {}, residual),
       reference::norm_conv(doubled(x), norm64, doubled(w), {}, doubled(residual)), 3);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CudaBindings, testing::Values(kF32, kBF16, kF16),
                         [](const auto& of) { return dtype_name(of.param); });

}  // namespace
}  // namespace cairn::ops
