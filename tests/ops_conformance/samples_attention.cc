// Projections to heads, attention, and rows of tables.
#include <fmt/core.h>

#include <cmath>
#include <memory>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

// Streams and the weights that they refer to.
struct Streams {
  std::vector<std::vector<Weight>> weights;
  std::vector<QkvStream> list;
};

}  // namespace

Run projected(const Projection& s, Place& p) {
  const auto streams = std::make_shared<Streams>();
  int64_t all = 0;
  for (const int64_t tokens : s.tokens) {
    const std::vector<int64_t> outs{s.heads * s.head_dim, s.groups * s.head_dim, s.groups * s.head_dim};
    std::vector<Weight> w = s.beside ? p.adjoined(outs, s.width) : std::vector<Weight>();
    for (size_t i = 0; !s.beside && i < outs.size(); ++i) w.push_back(p.weight(outs[i], s.width));
    streams->weights.push_back(std::move(w));
    all += tokens;
  }
  for (size_t i = 0; i < s.tokens.size(); ++i) {
    const auto& w = streams->weights[i];
    const auto norm = [&] { return s.normed ? p.numbers({s.head_dim}, p.dtype(), 0.2, 1) : Tensor(); };
    const Tensor x = p.numbers({s.n, s.tokens[i], s.width}), q = norm(), k = norm();
    streams->list.push_back({x, w[0], w[1], w[2], q, k});
  }
  const Tensor rope = s.turned ? p.of(rope_table)(p.angles(all, s.head_dim), p.as(p.dtype())) : Tensor();
  return [=, f = p.of(qkv), dtype = p.dtype(), d = s.head_dim] {
    const Qkv y = f(streams->list, rope, d, 1e-6);
    return Outputs{{y.q, dtype}, {y.k, dtype}, {y.v, dtype}};
  };
}

namespace {

void projections(Samples& to) {
  const auto add = [&](const Projection& s) {
    to.push_back(
        {&qkv,
         fmt::format("{} streams of {}, {} heads of {} over {}{}{}{}", s.tokens.size(), s.n, s.heads, s.head_dim,
                     s.groups, s.normed ? ", normed" : "", s.turned ? ", turned" : "", s.beside ? ", adjoined" : ""),
         [=](Place& p) { return projected(s, p); }});
  };
  for (const int64_t d : {16, 32, 48, 64, 80, 96, 128}) {
    add({2, d, 3, 3, 128, {33}, d % 3 != 1, true, false});
    add({2, d, 4, 2, 128, {7, 33}, true, true, d % 32 == 0});
  }
  add({1, 128, 16, 8, 256, {1}, true, true, true});    // one token of Qwen3
  add({1, 64, 14, 2, 192, {19}, false, true, false});  // Qwen2: biases, no norms
  add({1, 64, 8, 8, 64, {77}, false, false, false});   // an encoder of texts
  add({3, 24, 5, 1, 70, {2, 3}, true, false, true});
}

void tables(Samples& to) {
  // Only qkv of the same device can read a table, so heads that are the input itself are turned by it.
  for (const auto& [tokens, d] : {std::pair<int64_t, int64_t>{1, 128}, {200, 64}, {77, 16}, {40, 96}})
    to.push_back({&rope_table, fmt::format("{} tokens, width {}", tokens, d), [=](Place& p) -> Run {
                    const auto own = std::make_shared<Weight>(
                        p.placed(at::Tensor(zeros({d, d}, p.dtype())).fill_diagonal_(1)), Tensor());
                    const Tensor x = p.numbers({2, tokens, d}), angles = p.angles(tokens, d);
                    return [=, table = p.of(rope_table), f = p.of(qkv), dtype = p.dtype(), as = p.as(p.dtype())] {
                      const std::vector<QkvStream> streams{{x, *own, *own, *own, {}, {}}};
                      const Qkv y = f(streams, table(angles, as), d, 1e-6);
                      return Outputs{{y.q, dtype}, {y.k, dtype}, {y.v, dtype, Closeness::kExact}};
                    };
                  }});
}

struct Heads {
  int64_t n, t, s, h, d;
};
constexpr Heads kHeads[] = {{1, 96, 96, 4, 64},  {2, 1, 1, 1, 16},    {1, 77, 77, 3, 64}, {3, 5, 33, 2, 48},
                            {1, 13, 200, 3, 80}, {1, 65, 65, 2, 128}, {2, 31, 63, 5, 32}, {1, 300, 300, 1, 256},
                            {2, 40, 40, 2, 24},  {1, 1, 150, 4, 64}};
enum class Mask { kNone, kCausal, kBias, kPadding };

void attentions(Samples& to) {
  for (const Heads& s : kHeads)
    for (const Mask mask : {Mask::kNone, Mask::kCausal, Mask::kBias, Mask::kPadding}) {
      if (mask == Mask::kCausal && s.t != s.s) continue;
      constexpr const char* kNames[] = {"", ", causal", ", biased", ", padded"};
      to.push_back(
          {&attention,
           fmt::format("{} of {} by {}, {} heads of {}{}", s.n, s.t, s.s, s.h, s.d, kNames[static_cast<int>(mask)]),
           [=](Place& p) -> Run {
             // Heads of a joint projection: queries are not contiguous.
             const Tensor q = p.numbers({s.n, s.t, 2, s.h, s.d}).select(2, 1), k = p.numbers({s.n, s.s, s.h, s.d}),
                          v = p.numbers({s.n, s.s, s.h, s.d});
             Tensor bias;
             if (mask == Mask::kBias) bias = p.numbers({1, s.h, s.t, s.s}, kF32);
             if (mask == Mask::kPadding) {
               const Tensor hidden = zeros({s.n, 1, 1, s.s}, kF32);
               if (s.s > 2) hidden.narrow(0, s.n - 1, 1).narrow(3, s.s / 2, s.s - s.s / 2).fill_(-INFINITY);
               bias = p.placed(hidden);
             }
             const double scale = 1 / std::sqrt(static_cast<double>(s.d));
             return [=, f = p.of(attention), dtype = p.dtype()] {
               return Outputs{{f(q, k, v, bias, mask == Mask::kCausal, scale), dtype}};
             };
           }});
    }
}

void rows(Samples& to) {
  for (const auto& lengths : {std::vector<int64_t>{7, 33}, {1, 1, 5}, {12}, {64, 0, 3}})
    to.push_back(
        {&concat, fmt::format("{} sequences, the first of {}", lengths.size(), lengths[0]), [=](Place& p) -> Run {
           std::vector<Tensor> x;
           for (const int64_t t : lengths) x.push_back(p.numbers({2, t + 2, 70}).narrow(1, 1, t));
           return [=, f = p.of(concat), dtype = p.dtype()] { return Outputs{{f(x), dtype, Closeness::kExact}}; };
         }});
  for (const auto& [count, width] : {std::pair<int64_t, int64_t>{1, 64}, {33, 1024}, {500, 7}})
    for (const bool wide : {false, true})
      to.push_back(
          {&embedding, fmt::format("{} rows of {}, {}", count, width, wide ? "fp32" : "own"), [=](Place& p) -> Run {
             const Tensor table = p.numbers({151, width});
             std::vector<int64_t> ids;
             for (int64_t i = 0; i < count; ++i) ids.push_back(150 - i * 37 % 151);
             const Tensor places = p.integers(ids);
             const Dtype out = wide ? kF32 : p.dtype();
             return [=, f = p.of(embedding), as = p.as(out)] {
               return Outputs{{f(places, table, as), out, Closeness::kExact}};
             };
           }});
}

}  // namespace

void add_attention(Samples& to) {
  projections(to);
  tables(to);
  attentions(to);
  rows(to);
}

}  // namespace cairn::ops::conformance
